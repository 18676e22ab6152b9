"""The letter that asks whoever filled in a sign-up form to confirm it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from apps.campaigns.services.ledger import leases
from apps.campaigns.services.sending import single
from apps.campaigns.services.sending.outcomes import UNREADABLE_SECRET
from apps.mailer.models import Signup, SignupForm
from apps.senders.selectors import routes_of, signing_keys
from core import queues
from core.secrets import keyed_hash
from mailkit.addresses import format_mailbox
from mailkit.dkim import Signer
from mailkit.personalize import RenderFault, Template, compile_template
from mailkit.smtp.message import WireMessage
from mailkit.splice import CompiledLetter, Recipient

LOST_AFTER = timedelta(minutes=1)
TRIED_FOR = timedelta(days=1)
# Who has not confirmed by then is forgotten.
KEPT = timedelta(days=30)
Mail = Signup.Mail

_TEXT = "{{ greeting }}\n\n{{ ask }}\n\n{{ url }}\n\n{{ otherwise }}\n"
_HTML = (
    "<p>{{ greeting }}</p><p>{{ ask }}</p>"
    '<p><a href="{{ url }}">{{ action }}</a></p><p>{{ otherwise }}</p>'
)


def confirm_url(signup: Signup) -> str:
    return f"{settings.BASE_URL}/s/{signup.key}"


def ring(signup_id: int) -> None:
    from apps.campaigns.tasks import send_single_email

    queues.ring(send_single_email, signup_id=signup_id)


def send_confirmation(signup_id: int) -> None:
    """Send a queued letter, once: a second worker with the same task does nothing."""
    claimed = Signup.objects.filter(pk=signup_id, mail=Mail.QUEUED).update(
        mail=Mail.SENDING, updated_at=timezone.now()
    )
    if not claimed:
        return
    signup = Signup.objects.select_related("workspace", "form").get(pk=signup_id)
    if signup.form is None:
        _note(signup_id, Mail.FAILED, _("The form was deleted."))
        return
    try:
        routes = routes_of(signup.workspace)
        message = letter(signup, signup.form)
    except ValueError as error:
        _note(signup_id, Mail.FAILED, str(error))
        return
    except InvalidToken:
        _note(signup_id, Mail.FAILED, str(UNREADABLE_SECRET))
        return
    single.hand_over(
        routes,
        key=f"signup {signup_id}",
        to=signup.email,
        message=message,
        envelope_from=signup.form.from_email,
        settle=partial(_settle, signup_id),
        renew=partial(_renew, signup_id),
    )


def letter(signup: Signup, form: SignupForm) -> WireMessage:
    """In the form's language. Raises ValueError where a name or address cannot be used.

    Nobody wants an answer of a machine to it: Auto-Submitted (RFC 3834). It is no bulk mail, and
    there is nothing yet to unsubscribe from.
    """
    keys = signing_keys(signup.workspace, form.from_email)
    compiled = CompiledLetter(
        from_mailbox=format_mailbox(form.from_name, form.from_email),
        subject=_template("{{ subject }}", html=False),
        html=_template(_HTML, html=True),
        text=_template(_TEXT, html=False),
        headers=(("Auto-Submitted", "auto-generated"),),
        list_unsubscribe=False,
        signer_of=lambda names: Signer(keys, names) if keys else None,
    )
    domain = form.from_email.rpartition("@")[2]
    number = keyed_hash("signup", str(signup.pk))[:12]
    with translation.override(form.language):
        sender = form.from_name or signup.workspace.name
        values = {
            "subject": _("Please confirm: %(title)s") % {"title": form.title},
            "greeting": _("Hello!"),
            "ask": _(
                "Somebody, we hope you, asked %(sender)s to send letters to this address. "
                "If that is what you want, please confirm it:"
            )
            % {"sender": sender},
            "action": _("Confirm my subscription"),
            "otherwise": _("If it was not you, do nothing: no letters will come."),
            "url": confirm_url(signup),
        }
    message = compiled.make(
        Recipient(signup.email, f"<signup.{signup.pk}.{number}@{domain}>", "", values),
        timezone.now(),
    )
    if isinstance(message, RenderFault):
        raise ValueError(message.detail)
    return message


def sweep() -> None:
    """Ring for letters that nobody sends, give up those of dead processes, forget old requests.

    One that a server did not take is tried again after as long as it has waited until then.
    """
    now = timezone.now()
    waiting = Signup.objects.filter(confirmed_at__isnull=True)
    waiting.filter(mail=Mail.SENDING, updated_at__lt=now - leases.LEASE * 4).update(
        mail=Mail.UNKNOWN, updated_at=now
    )
    first = timedelta(seconds=settings.SMTP_RETRY_FIRST_SECONDS)
    lost = (
        waiting.filter(mail=Mail.QUEUED, created_at__lt=now - LOST_AFTER)
        .alias(again_at=F("updated_at") + (F("updated_at") - F("created_at")))
        .filter(Q(reply="") | Q(again_at__lt=now, updated_at__lt=now - first))
    )
    for signup_id in lost.order_by("created_at").values_list("pk", flat=True)[:1000]:
        ring(signup_id)
    waiting.filter(created_at__lt=now - KEPT).delete()


def _template(source: str, *, html: bool) -> Template:
    template = compile_template(source, html=html)
    assert isinstance(template, Template)
    return template


def _renew(signup_id: int) -> None:
    Signup.objects.filter(pk=signup_id, mail=Mail.SENDING).update(updated_at=timezone.now())


def _settle(signup_id: int, mail: str, code: int | None, reply: str) -> None:
    """What a server may take later, one that greylists or is away, is queued again for a while."""
    said = f"{code or ''} {reply}".strip()
    young = Signup.objects.filter(pk=signup_id, created_at__gt=timezone.now() - TRIED_FOR)
    if mail == Mail.FAILED and (code is None or code < 500) and young.exists():
        mail = Mail.QUEUED
    _note(signup_id, mail, said)


def _note(signup_id: int, mail: str, reply: str) -> None:
    """Unknown too: the sweeper may have given it up too early."""
    Signup.objects.filter(pk=signup_id, mail__in=[Mail.SENDING, Mail.UNKNOWN]).update(
        mail=mail, reply=reply[:2000], updated_at=timezone.now()
    )
