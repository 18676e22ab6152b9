"""Files of a campaign: what may be attached, whose files they are, and when they go."""

from __future__ import annotations

import os
import threading
import time

import pytest
from django.core.files.storage import default_storage
from django.db import transaction

from apps.accounts.models import User, Workspace
from apps.campaigns import preflight, tasks
from apps.campaigns.attachments import attached, encoded_size, files_of, path_of
from apps.campaigns.models import Attachment, Campaign
from apps.campaigns.services import attachments as services
from apps.campaigns.services import launch
from apps.campaigns.services.campaigns import (
    delete_campaign,
    duplicate_campaign,
    resend_campaign,
    update_campaign,
)
from core.errors import Conflict, InvalidInput
from mailkit.attachments import LARGEST_FILES, MOST_FILES
from tests.support.attachments import PDF, attach, stored
from tests.support.concurrency import in_thread, wait_until_blocked
from tests.support.factories import make_campaign, make_workspace

pytestmark = pytest.mark.django_db
State = Campaign.State


@pytest.fixture(autouse=True)
def _no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)


def make_old(*files: str) -> None:
    """As if written before a process could still be about to commit their rows."""
    for name in files:
        past = time.time() - 2 * services.ORPHANED.total_seconds()
        os.utime(default_storage.path(path_of(name)), (past, past))


# What may be attached


def test_a_file_is_kept_as_it_is(draft: Campaign) -> None:
    one = attach(draft, "Цены  2026.pdf")
    assert (one.name, one.content_type, one.size) == ("Цены 2026.pdf", "application/pdf", len(PDF))
    with default_storage.open(path_of(one.key)) as file:
        assert file.read() == PDF
    assert stored() == [one.key]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a\r\nBcc: e@x.test\r\n.pdf", "a Bcc_ e@x.test.pdf"),
        ("../../../etc/passwd", "passwd"),
        ("invoice\u202efdp.txt", "invoicefdp.txt"),
        ("x" * 300 + ".pdf", "x" * 116 + ".pdf"),
        ("Прайс.pdf", "Прайс.pdf"),
    ],
)
def test_hostile_names(draft: Campaign, name: str, kept: str) -> None:
    assert attach(draft, name).name == kept
    (key,) = stored()
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("run.exe", b"x", "run.exe"),
        ("annexe\u202efdp.exe", b"x", "annexefdp.exe"),
        ("report.pdf.js. ", b"x", "report.pdf.js"),
        ("report.pdf", b"MZ" + b"\0" * 70, "programs can be in them"),
        ("empty.pdf", b"", "empty"),
        ("large.pdf", b"x" * (LARGEST_FILES + 1), "at most 7.0"),
    ],
)
def test_what_letters_cannot_carry(draft: Campaign, name: str, data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        attach(draft, name, data)
    assert not draft.attachments.exists()
    assert stored() == []


def test_all_together_have_limits(draft: Campaign) -> None:
    attach(draft, "a.pdf", b"a" * (LARGEST_FILES - 2000))
    with pytest.raises(InvalidInput, match=r"room for 2\.0"):
        attach(draft, "b.pdf", b"b" * 3000)
    for number in range(1, MOST_FILES):
        attach(draft, f"{number}.pdf", b"%d" % number)
    with pytest.raises(InvalidInput, match="10 files already"):
        attach(draft, "last.pdf", b"last")
    assert draft.attachments.count() == MOST_FILES


def test_the_same_file_is_attached_once(draft: Campaign) -> None:
    attach(draft, "a.pdf")
    with pytest.raises(InvalidInput, match=r"a\.pdf"):
        attach(draft, "b.pdf")


def test_the_size_is_known_without_reading(draft: Campaign) -> None:
    for number in range(3):
        attach(draft, f"Файл {number}.xlsx", b"x" * (1000 * number + 1))
    files = files_of(draft)
    found = attached(files)
    assert found is not None
    assert encoded_size(files) == len(found.tail())
    assert found.tail() is found.tail()
    assert encoded_size(()) == 0
    assert attached(()) is None


# Equal contents


def test_campaigns_share_a_file(draft: Campaign, workspace: Workspace, owner: User) -> None:
    other = make_campaign(workspace)
    one, two = attach(draft, "a.pdf"), attach(other, "b.pdf")
    copy = duplicate_campaign(campaign=draft, by=owner)
    (three,) = copy.attachments.all()
    assert {one.key, two.key, three.key} == {*stored()}
    assert (three.name, three.size, three.content_type) == ("a.pdf", one.size, one.content_type)


def test_workspaces_do_not(draft: Campaign) -> None:
    elsewhere = make_campaign(make_workspace())
    assert attach(draft).key != attach(elsewhere).key
    assert len(stored()) == 2


def test_a_second_letter_to_those_who_have_not_opened_brings_the_files(
    draft: Campaign, owner: User
) -> None:
    attach(draft)
    Campaign.objects.update(state=State.FINISHED)
    draft.refresh_from_db()
    again = resend_campaign(campaign=draft, by=owner)
    assert [one.name for one in again.attachments.all()] == ["prices.pdf"]


# When they go


def test_the_file_goes_after_the_last_campaign(draft: Campaign, owner: User) -> None:
    copy = duplicate_campaign(campaign=draft, by=owner)
    one = attach(draft)
    attach(copy, "other name.pdf")
    make_old(one.key)
    delete_campaign(campaign=draft)
    assert services.remove_orphans() == 0
    assert stored() == [one.key]
    delete_campaign(campaign=copy)
    tasks.remove_orphaned_attachments()
    assert stored() == []
    tasks.remove_orphaned_attachments()


def test_a_file_that_was_taken_off_goes(draft: Campaign) -> None:
    one, two = attach(draft), attach(draft, "b.pdf", b"b")
    make_old(one.key, two.key)
    services.detach_file(campaign=draft, pk=one.pk)
    services.detach_file(campaign=draft, pk=one.pk)
    assert services.remove_orphans() == 1
    assert stored() == [two.key]


def test_a_file_whose_row_is_not_committed_yet_stays(draft: Campaign) -> None:
    one = attach(draft)
    Attachment.objects.all().delete()
    assert services.remove_orphans() == 0
    assert stored() == [one.key]


def test_nothing_to_clean_is_no_fault() -> None:
    assert services.remove_orphans() == 0


def test_many_orphans_are_looked_up_in_turns(
    draft: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BATCH", 2)
    keys = [attach(draft, f"{n}.pdf", b"%d" % n).key for n in range(5)]
    make_old(*keys)
    draft.attachments.filter(key__in=keys[:3]).delete()
    assert services.remove_orphans() == 3
    assert sorted(stored()) == sorted(keys[3:])


@pytest.mark.django_db(transaction=True)
def test_a_shared_file_does_not_vanish_while_it_is_taken_over(
    draft: Campaign, workspace: Workspace
) -> None:
    """One draft takes a file over from another that is being deleted: either the new row names a
    file that stays, or the file is written anew."""
    other = make_campaign(workspace)
    one = attach(other)
    make_old(one.key)
    with transaction.atomic():
        Attachment.objects.filter(pk=one.pk).delete()
        taking = in_thread(lambda: attach(draft))
        wait_until_blocked()
    taken = taking.result(timeout=30)
    services.remove_orphans()
    assert taken.key != one.key
    assert stored() == [taken.key]


# Frozen


def test_nothing_changes_from_the_launch_on(draft: Campaign, owner: User) -> None:
    one = attach(draft)
    launch.launch_campaign(campaign=draft, by=owner)
    with pytest.raises(Conflict):
        attach(draft, "b.pdf", b"b")
    with pytest.raises(Conflict):
        services.detach_file(campaign=draft, pk=one.pk)
    with pytest.raises(Conflict):
        delete_campaign(campaign=draft)
    assert [*draft.attachments.all()] == [one]


@pytest.mark.django_db(transaction=True)
def test_a_launch_waits_for_the_file_that_is_being_attached(draft: Campaign, owner: User) -> None:
    """Or a letter could be frozen with one file and go out with two."""
    attach(draft)
    inside, go_on = threading.Event(), threading.Event()

    def attaching() -> None:
        with services._draft(draft) as current:
            inside.set()
            assert go_on.wait(30)
            assert current.is_draft

    holding = in_thread(attaching)
    assert inside.wait(30)
    launching = in_thread(lambda: launch.launch_campaign(campaign=draft, by=owner))
    wait_until_blocked()
    go_on.set()
    holding.result(timeout=30)
    launching.result(timeout=30)
    with pytest.raises(Conflict):
        attach(draft, "b.pdf", b"b")


def test_the_page_that_saves_by_itself_is_not_out_of_date(draft: Campaign) -> None:
    attach(draft)
    update_campaign(campaign=draft, subject="Saved after the file came")


def test_files_belong_to_the_campaign_that_is_named(draft: Campaign, workspace: Workspace) -> None:
    one = attach(draft)
    services.detach_file(campaign=make_campaign(workspace), pk=one.pk)
    assert draft.attachments.exists()


# Preflight


@pytest.mark.parametrize(
    ("size", "code", "blocking"),
    [(700_000, "", False), (800_000, "heavy", False), (LARGEST_FILES, "too_heavy", True)],
)
def test_the_weight_of_a_letter(
    draft: Campaign, owner: User, size: int, code: str, blocking: bool
) -> None:
    draft.html = "<p>Hello</p>" + "<p>words</p>\n" * (30_000 if blocking else 10)
    draft.save()
    attach(draft, "a.pdf", os.urandom(size))
    found = {one.code: one for one in preflight.notices(draft)}
    assert {*found} & {"heavy", "too_heavy"} == ({code} if code else set())
    if not code:
        return
    assert found[code].blocking is blocking
    assert found[code].url.endswith("/edit/#attachments")
    refused = [one.code for one in preflight.objections(draft, ["no_postal_address"])]
    assert refused == ([code] if blocking else [])
    assert not preflight.objections(draft, ["no_postal_address", code])


def test_a_lost_file_is_found_before_the_launch(draft: Campaign, owner: User) -> None:
    one = attach(draft)
    default_storage.delete(path_of(one.key))
    found = {notice.code: notice for notice in preflight.notices(draft)}
    assert found["files_lost"].words == ("prices.pdf",)
    assert not found["files_lost"].acknowledgeable
    with pytest.raises(InvalidInput, match=r"prices\.pdf"):
        launch.launch_campaign(campaign=draft, by=owner)
