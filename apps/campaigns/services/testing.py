"""Looking at a letter before anybody gets it: on the page, or in a mailbox."""

from __future__ import annotations

from functools import partial

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.campaigns import letters
from apps.campaigns.letters import LetterFault, Preview
from apps.campaigns.models import Campaign, TestSend
from apps.campaigns.services.sending import single
from apps.campaigns.services.sending.outcomes import UNREADABLE_SECRET
from apps.mailer.models import Contact
from apps.senders.selectors import routes_of
from core import queues
from core.errors import AppError, InvalidInput
from mailkit.addresses import Fault, parse_address


def preview(*, campaign: Campaign, contact: Contact | None = None, variant: int = 0) -> Preview:
    """Raises InvalidInput with the line of a mistake in the template."""
    return letters.preview(campaign, contact, variant)


def send_test(*, campaign: Campaign, to: str, by: User | None, variant: int = 0) -> TestSend:
    """Queue the letter, or a variant of it, for one address. Raises InvalidInput."""
    from apps.campaigns.tasks import send_single_email

    address = parse_address(to)
    if isinstance(address, Fault):
        raise InvalidInput(_("“%(email)s” is not an email address.") % {"email": to[:100]})
    if not campaign.from_email:
        raise InvalidInput(_("Say who sends it: the sender address is empty."))
    letters.preview(campaign, None, variant)
    test = TestSend.objects.create(
        campaign=campaign, to=address.email, created_by=by, variant=variant
    )
    transaction.on_commit(lambda: queues.ring(send_single_email, test_send_id=test.pk))
    return test


def send_test_letter(test_id: int) -> None:
    """Send a queued test letter, once: a second worker with the same task does nothing."""
    claimed = TestSend.objects.filter(pk=test_id, state=TestSend.State.QUEUED).update(
        state=TestSend.State.SENDING, updated_at=timezone.now()
    )
    if not claimed:
        return
    test = TestSend.objects.select_related("campaign__workspace", "campaign__created_by").get(
        pk=test_id
    )
    campaign = test.campaign
    settle = partial(_settle_test, test_id)
    try:
        routes = routes_of(campaign.workspace)
        contact = Contact.objects.filter(workspace=campaign.workspace, email=test.to).first()
        message = letters.compiled(campaign, test.variant).test_letter(
            test.to, letters.sample_values(contact), test.pk
        )
    except (LetterFault, AppError) as error:
        settle(TestSend.State.FAILED, None, str(error))
        return
    except InvalidToken:
        settle(TestSend.State.FAILED, None, str(UNREADABLE_SECRET))
        return
    single.hand_over(
        routes,
        key=str(test_id),
        to=test.to,
        message=message,
        envelope_from=campaign.from_email,
        settle=settle,
        renew=partial(_renew_test, test_id),
    )


def _renew_test(test_id: int) -> None:
    held = TestSend.objects.filter(pk=test_id, state=TestSend.State.SENDING)
    held.update(updated_at=timezone.now())


def _settle_test(test_id: int, state: str, code: int | None, reply: str) -> None:
    """Unknown too: the sweeper may have given it up too early."""
    held = [TestSend.State.SENDING, TestSend.State.UNKNOWN]
    TestSend.objects.filter(pk=test_id, state__in=held).update(
        state=state, code=code, reply=reply[:2000], updated_at=timezone.now()
    )
