"""Sending domains and their DKIM keys, which sign once they are seen in the DNS.

A key waits, signs, then is retired by its successor:
waiting (not active) -> active -> retired (retired_at; its private part is forgotten).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from secrets import token_hex
from typing import cast

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, Workspace
from apps.senders.models import DkimKey, SendingDomain
from apps.senders.services import authentication
from core import queues, secrets
from core.errors import Conflict, InvalidInput, NotAllowed
from mailkit import dkim
from mailkit.addresses import Fault, parse_address

LONGEST_NAME = 220  # leaves room for the selector in the 253 characters of a name in the DNS
_NO_ANSWER_AFTER = timedelta(minutes=1)
_RECHECK = timedelta(days=1)
_RECHECK_WAITING = timedelta(minutes=10)
_EAGER_FOR = timedelta(days=3)  # how long a new key is expected to appear soon
_RINGS = 200


def add_domain(*, workspace: Workspace, by: Membership, name: str) -> SendingDomain:
    """Add a domain with a new key of each algorithm. Raises NotAllowed, InvalidInput."""
    _require_owner(workspace.pk, by)
    name = _domain_name(name)
    keys = [_new_key(algorithm) for algorithm in dkim.ALGORITHMS]
    try:
        with transaction.atomic():
            domain = SendingDomain.objects.create(workspace=workspace, name=name)
            for key in keys:
                key.domain = domain
            DkimKey.objects.bulk_create(keys)
    except IntegrityError as error:
        raise InvalidInput(_("%(name)s is among your domains already.") % {"name": name}) from error
    return domain


def set_return_path(*, workspace: Workspace, by: Membership, domain_id: int, name: str) -> None:
    """Where reports about the domain's letters go; "" for what the operator has set.

    The domain itself or one below it: with another one SPF does not count for DMARC (RFC 7489
    section 3.1.2). Raises NotAllowed, InvalidInput; Conflict where the domain is gone.
    """
    _require_owner(workspace.pk, by)
    domain = SendingDomain.objects.filter(workspace=workspace, pk=domain_id).first()
    if domain is None:
        raise Conflict(_("The domain was removed meanwhile."))
    wanted = _domain_name(name) if name.strip() else ""
    if wanted and wanted != domain.name and not wanted.endswith(f".{domain.name}"):
        raise InvalidInput(
            _("The return path has to be %(name)s or below it.") % {"name": domain.name}
        )
    if SendingDomain.objects.filter(pk=domain.pk).update(return_path=wanted):
        _ask(domain.pk, domain.check_asked_at)  # SPF is now another domain's


def remove_domain(*, domain: SendingDomain, by: Membership) -> None:
    """Forget the domain and its keys: its letters are no longer signed. Raises NotAllowed."""
    _require_owner(domain.workspace_id, by)
    domain.delete()


def rotate_key(*, key: DkimKey, by: Membership) -> DkimKey:
    """Make the successor of a key that signs; the old one goes on until the new one is in the DNS.

    Raises NotAllowed, and Conflict where the key does not sign or has a successor already.
    """
    _require_owner(key.domain.workspace_id, by)
    new = _new_key(cast(dkim.Algorithm, key.algorithm))
    new.domain = key.domain
    with transaction.atomic():
        # Two rotations at once: the second one sees the first one's key.
        SendingDomain.objects.select_for_update().get(pk=key.domain_id)
        same = DkimKey.objects.filter(domain=key.domain_id, algorithm=key.algorithm)
        if not same.filter(pk=key.pk, active=True).exists():
            raise Conflict(_("This key does not sign: only a key in use can be replaced."))
        if same.filter(active=False, retired_at=None).exists():
            raise Conflict(_("A new key is waiting for its DNS record already."))
        new.save()
    return new


def ask_check(*, domain: SendingDomain, by: Membership) -> None:
    """Have the records looked up; a second wish changes nothing. Raises NotAllowed."""
    _require_owner(domain.workspace_id, by)
    _ask(domain.pk, None)


def ring_due_checks() -> None:
    """Have looked up again: checks that got lost, keys that wait, and all domains once a day."""
    now = timezone.now()
    waiting = DkimKey.objects.filter(
        domain=OuterRef("pk"), active=False, retired_at=None, created_at__gt=now - _EAGER_FOR
    )
    due = Q(last__lt=now - _RECHECK) | Q(Exists(waiting), last__lt=now - _RECHECK_WAITING)
    domains = (
        SendingDomain.objects.annotate(last=Coalesce("checked_at", "created_at"))
        .filter(Q(check_asked_at__lt=now - _NO_ANSWER_AFTER) | Q(due, check_asked_at=None))
        .order_by("last")
    )
    for pk, asked_at in domains.values_list("pk", "check_asked_at")[:_RINGS]:
        _ask(pk, asked_at)


def check_domain(domain_id: int) -> None:
    """Look SPF, DKIM and DMARC up in the DNS; keys that wait and are found there sign from now
    on."""
    asked = SendingDomain.objects.filter(pk=domain_id, check_asked_at__isnull=False)
    domain = asked.select_related("workspace").first()
    if domain is None:
        return
    keys = list(domain.keys.filter(retired_at=None).order_by("-algorithm", "pk"))
    found = authentication.look_up(domain.workspace, domain.name, keys)
    seen = {key.selector: key.seen for key in found.dkim.keys}
    with transaction.atomic():
        settled = SendingDomain.objects.filter(
            pk=domain.pk, check_asked_at=domain.check_asked_at
        ).update(
            check_asked_at=None,
            checked_at=timezone.now(),
            dns=seen,
            authentication=found.as_json(),
        )
        if not settled:  # another run was faster, or the domain is gone
            return
        for key in keys:
            if seen[key.selector] == "found":
                _activate(key)


def _ask(domain_id: int, asked_at: datetime | None) -> None:
    asked = SendingDomain.objects.filter(pk=domain_id, check_asked_at=asked_at)
    if asked.update(check_asked_at=timezone.now()):
        transaction.on_commit(lambda: _ring(domain_id))


def _ring(domain_id: int) -> None:
    from apps.senders.tasks import check_domain

    queues.ring(check_domain, domain_id)


def _activate(key: DkimKey) -> None:
    waiting = DkimKey.objects.filter(pk=key.pk, active=False, retired_at=None)
    if waiting.update(active=True):
        DkimKey.objects.filter(domain=key.domain_id, algorithm=key.algorithm, active=True).exclude(
            pk=key.pk
        ).update(active=False, retired_at=timezone.now(), private_key_encrypted=b"")


def _new_key(algorithm: dkim.Algorithm) -> DkimKey:
    private, record = dkim.generate_key(algorithm)
    return DkimKey(
        # Random: two workspaces may write in the name of one domain.
        selector=f"vs{token_hex(4)}",
        algorithm=algorithm,
        private_key_encrypted=secrets.encrypt(private),
        record=record,
        active=False,
    )


def _domain_name(name: str) -> str:
    """In lower case and A-labels, as addresses have it."""
    address = parse_address(f"postmaster@{name.strip().removesuffix('.')}")
    if isinstance(address, Fault) or len(address.domain) > LONGEST_NAME:
        raise InvalidInput(_("Enter a domain such as example.com."))
    return address.domain


def _require_owner(workspace_id: int, by: Membership) -> None:
    if not by.is_owner or by.workspace_id != workspace_id:
        raise NotAllowed(_("Only an owner of the workspace can change its sending domains."))
