from __future__ import annotations

import threading
from typing import Any

import pytest

from apps.campaigns import tasks
from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.campaigns.services import testing
from apps.campaigns.services.sending import connections
from tests.apps.campaigns.letters_out import (
    StartRelay,
    parsed,
)
from tests.support.concurrency import in_thread
from tests.support.factories import (
    make_contact,
    make_workspace,
)
from tests.support.sandbox import Sandbox

State = Campaign.State
Status = Delivery.Status


# Test letters


def test_a_test_letter_says_what_became_of_it(campaign: Campaign, sandbox: Sandbox) -> None:
    fates = {"anna": "sent", "nosuch": "failed", "busy": "failed", "lost": "unknown"}
    for word, state in fates.items():
        test = TestSend.objects.create(campaign=campaign, to=f"{word}@inbox.sandbox.test")
        testing.send_test_letter(test.pk)
        testing.send_test_letter(test.pk)
        test.refresh_from_db()
        assert test.state == state, word
        assert test.reply
    assert len(sandbox.to("anna@inbox.sandbox.test")) == 1
    letter = parsed(sandbox.messages[0].data)
    assert letter["List-Unsubscribe"] is None
    assert letter["Message-ID"].startswith("<test.")
    assert not Delivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_send_a_test_letter_once(campaign: Campaign, sandbox: Sandbox) -> None:
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        tasks.send_single_email(test_send_id=test.pk)

    for worker in [in_thread(work) for _ in range(3)]:
        worker.result(timeout=30)
    assert len(sandbox.messages) == 1


def test_a_test_letter_that_cannot_be_made_says_why(campaign: Campaign, sandbox: Sandbox) -> None:
    Campaign.objects.update(text="{{ 1 | divided_by: 0 }}")
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.FAILED
    assert "line 1" in test.reply
    assert sandbox.messages == []


def test_a_test_letter_given_up_too_early_is_settled_after_all(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    hand_over = connections.Sender.hand_over

    def slowly(*args: Any, **options: Any) -> Any:
        TestSend.objects.update(state=TestSend.State.UNKNOWN)
        return hand_over(*args, **options)

    monkeypatch.setattr(connections.Sender, "hand_over", slowly)
    testing.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.SENT


def test_a_test_letter_has_the_values_of_the_contact_of_this_workspace(
    campaign: Campaign, sandbox: Sandbox
) -> None:
    make_contact(make_workspace(), "anna@inbox.sandbox.test", first_name="Stranger")
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    make_contact(campaign.workspace, "anna@inbox.sandbox.test", first_name="Ours")
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    assert [stored.subject for stored in sandbox.messages] == ["News for Anna", "News for Ours"]


def test_a_secret_that_cannot_be_read_fails_a_test_letter(
    campaign: Campaign, relay: StartRelay
) -> None:
    relay(relay={"username": "u", "password_encrypted": b"of another key"})
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.FAILED
    assert "cannot be read" in test.reply
