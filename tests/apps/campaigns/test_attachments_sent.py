"""Letters with files: the same for all recipients, in tests and variants too."""

from __future__ import annotations

import re
import tracemalloc
from datetime import UTC, datetime

import pytest
from django.core.files.storage import default_storage

from apps.accounts.models import User, Workspace
from apps.campaigns import attachments, letters
from apps.campaigns.attachments import path_of
from apps.campaigns.models import Attachment, Campaign, Delivery, TestSend, Variant
from apps.campaigns.services import testing
from mailkit.attachments import LARGEST_FILES
from mailkit.smtp.message import WireMessage
from tests.apps.campaigns.letters_out import StartRelay, only_row, parsed, queue, send_all
from tests.support.attachments import PDF, attach, files_in
from tests.support.factories import make_campaign, make_contact
from tests.support.sandbox import Sandbox

State = Campaign.State
Status = Delivery.Status
AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
NAMED = "Прайс-лист на весну и лето, исправленный и дополненный.pdf"


def begun(campaign: Campaign) -> Campaign:
    Campaign.objects.filter(pk=campaign.pk).update(state=State.SENDING)
    campaign.refresh_from_db()
    return campaign


@pytest.fixture
def with_files(workspace: Workspace) -> Campaign:
    campaign = make_campaign(workspace)
    attach(campaign)
    attach(campaign, NAMED, b"\r\n.\r\n" * 5000)
    return begun(campaign)


BOTH = [("prices.pdf", PDF), (NAMED, b"\r\n.\r\n" * 5000)]


def letter_to(campaign: Campaign, contact_id: int, variant: int = 0) -> WireMessage:
    one = letters.compiled(campaign, variant)
    return one.letter(contact_id, f"n{contact_id}@d.test", {}, date=AT)


@pytest.mark.parametrize("source", ["Hello {{ first_name }}", "{% if a %}{% endif %}Hello"])
def test_recipients_get_the_files(with_files: Campaign, sandbox: Sandbox, source: str) -> None:
    with_files.html, with_files.text = f"<p>{source}</p>", source
    with_files.save()
    queue(with_files, "anna@inbox.sandbox.test", "boris@inbox.sandbox.test")
    send_all(with_files)
    assert {*Delivery.objects.values_list("status", flat=True)} == {Status.SENT}
    assert len(sandbox.messages) == 2
    for message in sandbox.messages:
        letter = parsed(message.data)
        assert letter.get_content_type() == "multipart/mixed"
        assert not letter.defects
        assert files_in(letter) == BOTH
        body = letter.get_body(("plain",))
        assert body is not None
        assert "Hello" in body.get_content()


@pytest.mark.django_db(transaction=True)
def test_the_server_is_told_the_whole_size(with_files: Campaign, relay: StartRelay) -> None:
    server = relay()
    queue(with_files, "anna@d.test")
    send_all(with_files)
    (received,) = server.accepted
    (told,) = [int(n) for n in re.findall(r"SIZE=(\d+)", " ".join(server.commands))]
    assert told == len(received.message)
    assert files_in(parsed(received.message)) == BOTH


def test_a_test_letter_brings_the_files(workspace: Workspace, sandbox: Sandbox) -> None:
    draft = make_campaign(workspace)
    attach(draft, NAMED)
    test = TestSend.objects.create(campaign=draft, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    assert files_in(parsed(sandbox.messages[0].data)) == [(NAMED, PDF)]


def test_a_test_letter_without_its_file_says_why(workspace: Workspace, sandbox: Sandbox) -> None:
    draft = make_campaign(workspace)
    default_storage.delete(path_of(attach(draft).key))
    test = TestSend.objects.create(campaign=draft, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.FAILED
    assert "“prices.pdf” is not in the storage any more" in test.reply


def test_a_lost_file_pauses_the_campaign(with_files: Campaign, sandbox: Sandbox) -> None:
    queue(with_files, "anna@inbox.sandbox.test")
    one = with_files.attachments.first()
    assert one is not None
    attachments._tail.cache_clear()
    default_storage.delete(path_of(one.key))
    send_all(with_files)
    with_files.refresh_from_db()
    assert with_files.state == State.PAUSED
    assert "prices.pdf" in with_files.pause_reason
    assert only_row(with_files).status == Status.QUEUED
    assert sandbox.messages == []


@pytest.mark.django_db
def test_variants_share_the_files(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, test_share=50)
    attach(campaign)
    Variant.objects.create(campaign=campaign, number=1)
    Variant.objects.create(campaign=campaign, number=2, editor="html", html="<p>Other</p>")
    one, two = (letter_to(campaign, 1, number) for number in (1, 2))
    assert one.tail is two.tail
    assert one.stuffed != two.stuffed


@pytest.mark.django_db
def test_a_file_more_is_another_letter(with_files: Campaign) -> None:
    before = letter_to(with_files, 1)
    assert letter_to(with_files, 1) == before
    Campaign.objects.update(state=State.DRAFT)
    attach(with_files, "third.pdf", b"3")
    after = letter_to(with_files, 1)
    assert after.size > before.size
    Attachment.objects.all().delete()
    assert letter_to(with_files, 1).tail == b""


@pytest.mark.django_db
def test_letters_hold_no_copies_of_their_files(workspace: Workspace, owner: User) -> None:
    """Hundreds are on their way in a process: they share what is large."""
    campaign = make_campaign(workspace)
    attach(campaign, "large.bin", b"x" * LARGEST_FILES)
    made = [letter_to(campaign, 1)]
    tracemalloc.start()
    try:
        made += [letter_to(campaign, number) for number in range(2, 52)]
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(one.tail is made[0].tail for one in made)
    assert all(one.size > 10_000_000 for one in made)
    assert peak < 4_000_000


@pytest.mark.django_db
def test_a_process_keeps_the_files_of_few_campaigns(workspace: Workspace) -> None:
    campaigns = [make_campaign(workspace) for _ in range(5)]
    for number, campaign in enumerate(campaigns):
        attach(campaign, data=b"%d" % number)
        letter_to(campaign, 1)
    assert attachments._tail.cache_info().currsize == attachments.KEPT


def test_the_page_in_a_browser_reads_no_files(with_files: Campaign) -> None:
    contact = make_contact(with_files.workspace)
    Attachment.objects.update(key="gone")
    assert "Hello" in letters.view(with_files, contact, 0)
    assert "Hello" in letters.preview(with_files, contact).html
