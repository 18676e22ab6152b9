"""Checking a list again, its pages, the forecast of an import, words for verdicts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from apps.accounts.models import User, Workspace
from apps.mailer import checks
from apps.mailer.messages import REASONS, VERDICTS
from apps.mailer.models import Contact, ContactList, Verdict, Verification
from apps.mailer.segments.counting import QueryTooSlow
from apps.mailer.services import reverify, verification
from apps.mailer.services.reverify import verify_list
from core.errors import Conflict, InvalidInput
from mailkit.verify import REASONS as VERDICT_OF
from tests.apps.mailer.helpers import check, csv_of, imported
from tests.support import factories
from tests.support.concurrency import in_thread
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.django_db

Signs = Callable[[User], Client]


@pytest.fixture
def aged(workspace: Workspace, sandbox: Sandbox) -> ContactList:
    """One checked a year ago, one yesterday, one never; the mailbox of the first is gone."""
    found = factories.make_list(workspace, "Customers")
    now = timezone.now()
    for local, days in (("nosuch", 365), ("ann", 1)):
        factories.make_contact(
            workspace, f"{local}@inbox.sandbox.test", to=found,
            verified_at=now - timedelta(days=days),
        )  # fmt: skip
    factories.make_contact(workspace, "bob@nxdomain.sandbox.test", to=found, verdict="", reason="")
    factories.make_contact(workspace, "nosuch.2@inbox.sandbox.test")  # in no list
    return found


def finish(run: Verification) -> None:
    """As the workers do it."""
    busy = True
    while busy:
        to_choose = reverify.choose_members(run.pk)
        busy = verification.validate_batch(run.pk) or to_choose


def figures_of(found: checks.ListChecks) -> tuple[int, int, int, int]:
    figures = found.figures
    assert figures
    assert figures.exact
    return figures.members, figures.stale, figures.never, found.checked


def test_a_list_too_large_to_count_is_estimated(
    client_of: Signs, teammate: User, aged: ContactList, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checks._figures

    def slow(shown: ContactList, *, seconds: float | None = None, one_in: int = 1) -> Any:
        if seconds is not None:
            raise QueryTooSlow
        return real(shown, one_in=one_in)

    monkeypatch.setattr(checks, "SAMPLED", 2)
    monkeypatch.setattr(checks, "_figures", slow)
    found = checks.list_figures(aged)
    even = sum(not pk % 2 for pk in aged.contacts.values_list("pk", flat=True))
    assert (found.exact, found.members) == (False, 2 * even)
    page = reverse("mailer:list", args=[aged.workspace.slug, aged.pk])
    assert "an estimate" in client_of(teammate).get(page).text


def test_old_verdicts_are_checked_again(aged: ContactList) -> None:
    before = checks.list_checks(aged)
    assert figures_of(before) == (3, 1, 1, 0)
    run = verify_list(contact_list=aged, level="full", months=6)
    assert (run.total, run.of_list, run.level) == (0, aged, "full")
    finish(run)
    after = checks.list_checks(aged)
    assert figures_of(after) == (3, 0, 0, 2)
    assert after.run
    assert after.run.state == Verification.State.FINISHED
    found = dict(Contact.objects.values_list("email", "reason"))
    assert found == {
        "nosuch@inbox.sandbox.test": "mailbox_not_found",
        "ann@inbox.sandbox.test": "mailbox_exists",
        "bob@nxdomain.sandbox.test": "no_mx",
        "nosuch.2@inbox.sandbox.test": "mailbox_exists",
    }


def test_a_second_click_finds_the_first(aged: ContactList) -> None:
    verify_list(contact_list=aged, level="quick")
    with pytest.raises(Conflict):
        verify_list(contact_list=aged, level="quick")
    assert Verification.objects.count() == 1


def test_where_nothing_is_old_enough_the_page_says_so(
    client_of: Signs, teammate: User, aged: ContactList
) -> None:
    Contact.objects.update(verified_at=timezone.now())
    run = verify_list(contact_list=aged, level="full", months=1)
    finish(run)
    run.refresh_from_db()
    assert (run.total, run.state) == (0, Verification.State.FINISHED)
    page = reverse("mailer:list", args=[aged.workspace.slug, aged.pk])
    assert "found nothing to do" in client_of(teammate).get(page).content.decode()


def test_the_request_chooses_nobody(aged: ContactList, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(6):
        run = verify_list(contact_list=aged, level="quick")
    assert not Contact.objects.filter(verification=run).exists()


def test_members_are_chosen_in_chunks(aged: ContactList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverify, "CHUNK", 2)
    run = verify_list(contact_list=aged, level="quick")
    assert reverify.choose_members(run.pk)
    run.refresh_from_db()
    assert run.total == 2
    # Answered before the others are chosen, the run is not over.
    while verification.validate_batch(run.pk):
        pass
    found = checks.list_checks(aged)
    assert (found.running, found.checked) == (True, 2)
    while reverify.choose_members(run.pk):
        pass
    run.refresh_from_db()
    assert (run.total, run.chosen_up_to) == (3, None)
    finish(run)
    run.refresh_from_db()
    assert (run.state, run.checked) == (Verification.State.FINISHED, 3)


def test_a_killed_worker_leaves_no_half_a_chunk(
    aged: ContactList, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = verify_list(contact_list=aged, level="quick")

    def killed(run: Verification) -> tuple[int | None, int]:
        make_due(run)
        raise SystemExit

    make_due = reverify._make_due
    monkeypatch.setattr(reverify, "_make_due", killed)
    with pytest.raises(SystemExit):
        reverify.choose_members(run.pk)
    assert not Contact.objects.filter(verification=run).exists()
    monkeypatch.undo()
    # Its message is lost; the sweeper rings for what is still to be chosen.
    assert verification.ring_due_checks() == 1
    finish(run)
    run.refresh_from_db()
    assert (run.total, run.state) == (3, Verification.State.FINISHED)


@pytest.mark.django_db(transaction=True)
def test_two_workers_choose_each_member_once(
    aged: ContactList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverify, "CHUNK", 1)
    run = verify_list(contact_list=aged, level="quick")

    def choose() -> None:
        while Verification.objects.filter(pk=run.pk, chosen_up_to__isnull=False).exists():
            reverify.choose_members(run.pk)

    for worker in [in_thread(choose) for _ in range(3)]:
        worker.result(timeout=60)
    run.refresh_from_db()
    assert (run.total, Contact.objects.filter(verification=run).count()) == (3, 3)


def test_a_deleted_list_ends_its_run(aged: ContactList) -> None:
    run = verify_list(contact_list=aged, level="quick")
    aged.delete()
    finish(run)
    run.refresh_from_db()
    assert (run.total, run.state) == (0, Verification.State.FINISHED)


@pytest.mark.parametrize(("level", "months"), [("deep", 1), ("full", -1), ("full", 61)])
def test_what_cannot_be_asked(aged: ContactList, level: str, months: int) -> None:
    with pytest.raises(InvalidInput):
        verify_list(contact_list=aged, level=level, months=months)


def test_the_list_page_asks_first(client_of: Signs, teammate: User, aged: ContactList) -> None:
    client = client_of(teammate)
    page = reverse("mailer:list", args=[aged.workspace.slug, aged.pk])
    assert 'id="stale"' in client.get(page).content.decode()
    address = reverse("mailer:list_verify", args=[aged.workspace.slug, aged.pk])
    assert client.get(address).status_code == 200
    assert not Verification.objects.exists()
    assert client.post(address, {"level": "nothing", "months": "6"}).status_code == 422
    assert client.post(address, {"level": "quick", "months": "6"}).status_code == 302
    assert 'hx-trigger="every 2s"' in client.get(page).content.decode()
    part = client.get(reverse("mailer:list_checks", args=[aged.workspace.slug, aged.pk]))
    assert "<html" not in part.content.decode()
    finish(Verification.objects.get())
    assert "every 2s" not in client.get(page).content.decode()


def test_outsiders_see_and_change_nothing(
    client_of: Signs, outsider: User, aged: ContactList
) -> None:
    client = client_of(outsider)
    for slug in (aged.workspace.slug, "elsewhere"):
        for name in ("list_verify", "list_checks"):
            address = reverse(f"mailer:{name}", args=[slug, aged.pk])
            assert client.get(address).status_code == 404
            assert client.post(address, {"level": "quick", "months": "0"}).status_code in (404, 405)
    assert not Verification.objects.exists()


@pytest.mark.parametrize("code", sorted({*VERDICT_OF, *Verdict.values}))
def test_every_code_has_one_sentence_in_both_languages(code: str) -> None:
    words = {**REASONS, **VERDICTS}[code]
    with translation.override("en"):
        english = str(words)
    with translation.override("ru"):
        russian = str(words)
    for sentence in (english, russian):
        assert sentence.endswith(".")
        assert not re.search(r"[.!?] ", sentence)
    assert re.search("[а-я]", russian)
    assert not re.search("[а-я]", english)


def test_every_code_has_its_sentence(client_of: Signs, owner: User, workspace: Workspace) -> None:
    assert set(REASONS) == set(VERDICT_OF)
    assert set(VERDICTS) == set(Verdict.values)
    page = client_of(owner).get(reverse("mailer:verdicts", args=[workspace.slug]))
    words = page.content.decode()
    assert all(f'id="{code}"' in words for code in (*REASONS, *VERDICTS))


def test_an_import_has_its_forecast(
    client_of: Signs, owner: User, workspace: Workspace, sandbox: Sandbox
) -> None:
    people = [f"p{n}@inbox.sandbox.test" for n in range(8)] + ["nosuch@inbox.sandbox.test"]
    job = imported(workspace, csv_of(people))
    check(job)
    found = checks.bounce_forecast(job)
    assert (found.everybody.letters, found.mailable.letters) == (9, 8)
    assert found.everybody.low < 1 / 9 < found.everybody.high
    assert found.mailable.expected < 0.01
    page = client_of(owner).get(reverse("mailer:import", args=[workspace.slug, job.pk]))
    assert 'id="forecast"' in page.content.decode()


def test_a_contact_says_why_and_what_was_meant(
    client_of: Signs, owner: User, workspace: Workspace
) -> None:
    contact = factories.make_contact(
        workspace, "ann@gmial.com", verdict="risky", reason="possible_typo",
        evidence={"suggestion": "gmail.com"},
    )  # fmt: skip
    page = client_of(owner).get(reverse("mailer:contact", args=[workspace.slug, contact.pk]))
    words = page.content.decode()
    assert "ann@gmail.com" in words
    assert str(VERDICTS["risky"]) in words
