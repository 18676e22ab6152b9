"""Subscribing by a public form: nobody is subscribed before they confirm by mail."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from apps.campaigns.services import confirmations
from apps.mailer.models import (
    Contact,
    ContactEdit,
    ListMember,
    Signup,
    SignupForm,
    Suppression,
    Verdict,
)
from apps.mailer.services import contacts
from apps.mailer.services.contacts_erasure import erased_key
from mailkit.addresses import Address

# How long a form has been looked at, in seconds, when a person sends it.
LEAST_SECONDS, MOST_SECONDS = 2, 24 * 3600
# Letters to one address, and forms sent from one network address.
LETTERS = ((1, 600), (4, 24 * 3600))
FORMS = (30, 3600)
VALID_FOR = timedelta(days=7)
_SALT = "signup form"
_NAMES = ("first_name", "last_name")


def stamp(form: SignupForm, at: float | None = None) -> str:
    """What says in a form when its page was made."""
    return signing.dumps([form.key, round(at or time.time())], salt=_SALT)


def is_fresh(form: SignupForm, given: str) -> bool:
    """Whether a form comes from a page of ours that somebody has looked at for a moment."""
    try:
        key, at = signing.loads(given, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return False
    return bool(key == form.key and LEAST_SECONDS <= time.time() - at <= MOST_SECONDS)


def too_many_from(address: str | None) -> bool:
    """Whether this network address has sent more forms than people would; counts this one."""
    return not _within(f"signup:from:{address}", *FORMS)


def ask(
    *, form: SignupForm, email: Address, values: Mapping[str, str], address: str | None
) -> bool:
    """Note the wish, with the wording as it stands, and have the letter sent.

    Whether there is one: not for an address that gets no mail here, nor for one that got such a
    letter a short time ago. Whoever asks must not learn which.
    """
    if _never_mailed(form.workspace_id, email):
        return False
    letters = f"signup:to:{form.workspace_id}:{email.email}"
    if not all(_within(f"{letters}:{seconds}", most, seconds) for most, seconds in LETTERS):
        return False
    with transaction.atomic():
        signup = Signup.objects.create(
            workspace_id=form.workspace_id,
            form=form,
            form_name=form.name,
            email=email.email,
            values={key: value for key, value in values.items() if value},
            consent=form.consent,
            address=address,
        )
        transaction.on_commit(lambda: confirmations.ring(signup.pk))
    return True


def _never_mailed(workspace_id: int, email: Address) -> bool:
    """Whether mail bounced or was complained about, or the workspace excluded the address.

    Somebody who unsubscribed, or was erased, may come back.
    """
    for_good = (
        Suppression.Reason.BOUNCED,
        Suppression.Reason.COMPLAINED,
        Suppression.Reason.MANUAL,
    )
    entries = [email.email, f"@{email.domain}"]
    return (
        Suppression.objects.filter(
            workspace=workspace_id, email__in=entries, reason__in=for_good
        ).exists()
        or Contact.objects.filter(
            workspace=workspace_id,
            email=email.email,
            status__in=[Contact.Status.BOUNCED, Contact.Status.COMPLAINED],
        ).exists()
    )


def _within(key: str, most: int, seconds: int) -> bool:
    cache.add(key, 0, seconds)
    try:
        return int(cache.incr(key)) <= most
    except ValueError:  # it ran out between the two
        return True


def read_key(key: str) -> Signup | None:
    """The sign-up that a confirmation link belongs to; None for what is not ours or too old."""
    signup = (
        Signup.objects.select_related("workspace", "form")
        .filter(key=key, created_at__gt=timezone.now() - VALID_FOR, form__isnull=False)
        .first()
    )
    return signup


def confirm(*, signup: Signup, address: str | None) -> None:
    """Subscribe; works twice. A later unsubscription is not undone by the same link."""
    with transaction.atomic():
        confirmed = Signup.objects.filter(pk=signup.pk, confirmed_at__isnull=True).update(
            confirmed_at=timezone.now(), confirmed_address=address
        )
        if not confirmed or signup.form is None:
            return
        Suppression.objects.filter(
            workspace=signup.workspace_id,
            email=erased_key(signup.email),
            reason=Suppression.Reason.ERASED,
        ).delete()
        contact, new = Contact.objects.get_or_create(
            workspace=signup.workspace,
            email=signup.email,
            defaults={
                "verdict": Verdict.VALID,
                "reason": "confirmed",
                "verified_at": timezone.now(),
            },
        )
        _fill_in(contact, signup)
        if not new:
            contacts.resubscribe(contact=contact)
        ListMember.objects.bulk_create(
            [ListMember(list=one, contact=contact) for one in signup.form.lists.all()],
            ignore_conflicts=True,
        )


def _fill_in(contact: Contact, signup: Signup) -> None:
    """Put what was filled in where the contact has nothing: the form may be a stranger's work."""
    current = Contact.objects.select_for_update().get(pk=contact.pk)
    fields, names = dict(current.fields), {}
    changes = {}
    for key, value in signup.values.items():
        if key in _NAMES and not getattr(current, key):
            names[key] = value
        elif key not in _NAMES and not fields.get(key):
            fields[key] = value
        else:
            continue
        changes[key] = ["", value]
    if changes:
        Contact.objects.filter(pk=contact.pk).update(
            **names, fields=fields, updated_at=timezone.now()
        )
        ContactEdit.objects.create(contact=current, created_by=None, changes=changes)


def language_of(form: SignupForm) -> str:
    return form.language if form.language in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
