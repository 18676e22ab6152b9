"""What an import makes of known contacts, kinds of fields, lists, tags and erased people."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import Contact, ContactField, Import, RejectedRow, Suppression
from apps.mailer.services import contacts, importing, importing_chunks, imports
from apps.mailer.services.imports import NewField
from core.errors import InvalidInput
from core.secrets import keyed_hash
from tests.apps.mailer.helpers import counters, csv_of, expire_lease, run, upload
from tests.support import factories

pytestmark = pytest.mark.django_db

TEXT = "email,имя,city,size\nann@example.com,Анна,Омск,M\nbob@example.com,Боб,,L\n"
MAPPING = {0: "email", 1: "first_name", 2: "city", 3: "size"}


def start(job: Import, **options: Any) -> Import:
    usual: dict[str, Any] = {
        "contact_list": factories.make_list(job.workspace),
        "mapping": MAPPING,
        "labels": {},
        "level": "quick",
    }
    imports.start_import(job=job, **usual | options)
    job.refresh_from_db()
    return job


def imported(workspace: Workspace, text: str = TEXT, **options: Any) -> Import:
    return run(start(upload(workspace, text), **options))


@pytest.mark.parametrize(
    ("policy", "counted", "ann"),
    [
        ("overwrite", {"created": 1, "updated": 1}, ("Анна", {"city": "Омск", "size": "M"})),
        ("fill", {"created": 1, "updated": 1}, ("Аня", {"city": "Уфа", "size": "M"})),
        ("keep", {"created": 1, "unchanged": 1}, ("Аня", {"city": "Уфа"})),
    ],
)
def test_what_a_known_contact_takes(
    workspace: Workspace, policy: str, counted: dict[str, int], ann: tuple[str, dict[str, str]]
) -> None:
    factories.make_contact(workspace, "ann@example.com", first_name="Аня", fields={"city": "Уфа"})
    job = imported(workspace, policy=policy)
    assert counters(job) == counted
    known = Contact.objects.get(email="ann@example.com")
    assert (known.first_name, known.fields) == ann
    assert counters(imported(workspace, policy=policy)) == {"unchanged": 2}


def test_filling_gaps_with_empty_cells(workspace: Workspace) -> None:
    factories.make_contact(workspace, "ann@example.com")
    text = "email,имя\nann@example.com,\n"
    job = imported(workspace, text, mapping={0: "email", 1: "first_name"}, policy="fill")
    assert counters(job) == {"unchanged": 1}


@pytest.mark.parametrize("policy", ["overwrite", "keep"])
def test_lists_and_tags_are_added_to_known_and_new_contacts(
    workspace: Workspace, policy: str
) -> None:
    factories.make_contact(workspace, "ann@example.com", tags=["old", "VIP"])
    first, second = factories.make_list(workspace), factories.make_list(workspace)
    tags = [" VIP ", "autumn  26", 'say "hi" \\', "VIP"]
    job = imported(workspace, contact_list=first, more_lists=[second, first], tags=tags,
                   policy=policy)  # fmt: skip
    assert job.tags == ["VIP", "autumn 26", 'say "hi" \\']
    for one in (first, second):
        assert one.contacts.count() == 2
    kept = dict(Contact.objects.values_list("email", "tags"))
    assert kept["bob@example.com"] == job.tags
    assert kept["ann@example.com"] == ["old", "VIP", "autumn 26", 'say "hi" \\']


@pytest.mark.parametrize("tag", ["a,b", "x" * 51, " ", "a\x07"])
def test_what_is_no_tag(workspace: Workspace, tag: str) -> None:
    job = upload(workspace, TEXT)
    with pytest.raises(InvalidInput):
        start(job, tags=[tag])
    job.refresh_from_db()
    assert job.state == Import.State.UPLOADED


def test_a_further_list_of_another_workspace_is_refused(workspace: Workspace) -> None:
    theirs = factories.make_list(factories.make_workspace())
    with pytest.raises(InvalidInput, match="does not exist"):
        start(upload(workspace, TEXT), more_lists=[theirs])


def test_values_take_the_form_of_their_field(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 2)
    text = (
        "email,сумма,дата,вип,размер\n"
        'ann@example.com,"1 234,50",31.01.2026,да,m\n'
        "bob@example.com,много,31.02.2026,может,XXL\n"
        "cat@example.com,,,,\n"
        "dan@example.com,нет,2026-02-01,no,L\n"
    )
    keys = ("email", "sum", "day", "vip", "size")
    kinds = (("sum", "number"), ("day", "date"), ("vip", "yes_no"))
    fields = {key: NewField(key.title(), kind) for key, kind in kinds}
    fields["size"] = NewField("Size", "choice", ("M", "L", "M"))
    job = imported(workspace, text, mapping=dict(enumerate(keys)), fields=fields)
    assert counters(job) == {"created": 4}
    kept = dict(Contact.objects.values_list("email", "fields"))
    assert kept == {
        "ann@example.com": {"sum": "1234.5", "day": "2026-01-31", "vip": "yes", "size": "M"},
        "bob@example.com": {},
        "cat@example.com": {},
        "dan@example.com": {"day": "2026-02-01", "vip": "no", "size": "L"},
    }
    assert job.unfit == {
        "sum": [2, 3, "много"],
        "day": [1, 3, "31.02.2026"],
        "vip": [1, 3, "может"],
        "size": [1, 3, "XXL"],
    }
    assert [(one.label, one.number) for one in selectors.unfit_cells(job)] == [
        ("Day", 1), ("Size", 1), ("Sum", 2), ("Vip", 1),
    ]  # fmt: skip
    assert ContactField.objects.get(key="size").choices == ["M", "L"]


@pytest.mark.parametrize(
    "field",
    [NewField("x", "colour"), NewField("x", "choice"), NewField("x", "choice", ("y" * 101,))],
)
def test_what_is_no_field(workspace: Workspace, field: NewField) -> None:
    with pytest.raises(InvalidInput):
        start(upload(workspace, TEXT), fields={"city": field})
    assert not ContactField.objects.exists()


def test_those_who_get_no_mail_are_counted_once_and_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 2)
    contacts.unsubscribe(contact=factories.make_contact(workspace, "gone@example.com"), source="")
    for status in ("bounced", "complained"):
        factories.make_contact(workspace, f"{status}@example.com", status=status)
    elsewhere = factories.make_workspace()
    for where, email in (
        (workspace, "never@example.com"),
        (workspace, "@blocked.example"),
        (elsewhere, "free@example.com"),
    ):
        Suppression.objects.create(workspace=where, email=email, reason="manual")
    names = ["gone@example.com", "bounced@example.com", "complained@example.com",
             "never@example.com", "x@blocked.example", "y@sub.blocked.example",
             "free@example.com", "gone@example.com", "NEVER@example.com"]  # fmt: skip
    job = imported(workspace, csv_of(names), mapping={0: "email"})
    assert counters(job) == {"created": 4, "unchanged": 3, "duplicate": 2}
    met = (job.met_unsubscribed, job.met_bounced, job.met_complained, job.met_suppressed)
    assert met == (1, 1, 1, 2)
    statuses = set(Contact.objects.values_list("email", "status"))
    assert ("gone@example.com", "unsubscribed") in statuses
    assert ("bounced@example.com", "bounced") in statuses


def test_an_erased_person_comes_back_unsubscribed(workspace: Workspace) -> None:
    Suppression.objects.create(
        workspace=workspace, email="#" + keyed_hash("erased", "ann@example.com"), reason="manual"
    )
    job = imported(workspace)
    assert counters(job) == {"created": 2}
    assert job.met_suppressed == 1
    ann = Contact.objects.get(email="ann@example.com")
    assert (ann.status, ann.check_due_at, ann.verification_id) == ("unsubscribed", None, None)
    assert Contact.objects.get(email="bob@example.com").status == "subscribed"
    assert job.verification.total == 1
    again = imported(workspace)
    assert (again.met_unsubscribed, again.met_suppressed) == (1, 0)


def test_the_mapping_is_remembered_for_these_headers(workspace: Workspace) -> None:
    start(upload(workspace, TEXT), policy="fill")
    again = imports.remembered(upload(workspace, TEXT.replace("email,", " EMAIL ,")))
    assert again is not None
    assert again.mapping == {str(index): key for index, key in MAPPING.items()}
    assert (again.policy, again.level) == ("fill", "quick")
    assert imports.remembered(upload(workspace, TEXT.replace("city", "town"))) is None
    assert imports.remembered(upload(factories.make_workspace(), TEXT)) is None


def test_the_cells_of_rejected_rows_are_kept_within_bounds(workspace: Workspace) -> None:
    long = "z" * 2000
    text = f"email,имя,city,size\nbad,{long},a\0b,\nc,{','.join([long] * 30)}\n"
    job = imported(workspace, text)
    assert counters(job) == {"rejected": 2}
    first, second = RejectedRow.objects.order_by("number").values_list("cells", flat=True)
    assert first == ["bad", "z" * 1000, "a\ufffdb", ""]
    assert sum(map(len, second)) == 10_000


def test_an_import_gives_way_and_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 2)
    monkeypatch.setattr(importing, "TURN_SECONDS", -1.0)
    monkeypatch.setattr(importing, "TURN_PER_SKIPPING", -1.0)
    people = csv_of(f"p{number % 6}@example.com" for number in range(8))
    first = start(upload(workspace, people), mapping={0: "email"})
    other = start(upload(factories.make_workspace(), people), mapping={0: "email"})
    run(first)
    assert (first.state, first.token, first.checkpoint) == (Import.State.QUEUED, None, 2)
    for _turn in range(20):
        importing.run_next_import(first.pk)
    for job in (first, other):
        assert counters(job) == {"created": 6, "duplicate": 2}
        assert job.state == Import.State.FINISHED


def test_workspaces_take_turns_whatever_they_have_waiting(workspace: Workspace) -> None:
    many = [start(upload(workspace, TEXT)) for _number in range(3)]
    elsewhere = start(upload(factories.make_workspace(), TEXT))
    run(many[0])
    # Theirs came last and is next; then those of this workspace in their order.
    assert importing._in_turn() == [elsewhere.pk, many[1].pk, many[2].pk]
    run(elsewhere)
    busy = Import.objects.filter(pk=many[1].pk)
    busy.update(state=Import.State.RUNNING, token="0" * 32)
    expire_lease(many[1])
    assert importing._in_turn() == [many[1].pk, many[2].pk]


def test_a_file_is_read_again_in_another_way(workspace: Workspace) -> None:
    job = upload(workspace, "почта;имя|x\nann@example.com;Анна|1\n".encode("koi8-r"))
    imports.reread(job=job, encoding="koi8-r", delimiter="|")
    job.refresh_from_db()
    assert job.source["headers"] == ["почта;имя", "x"]
    imports.reread(job=job, encoding="cp1251", delimiter=";")
    job.refresh_from_db()
    assert len(job.source["headers"]) == 2
    assert job.source["headers"][0] != "почта"


def test_a_chunk_of_long_rows_is_short(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing_chunks, "LARGEST_CHUNK", 1000)
    monkeypatch.setattr(importing_chunks, "BLOCK_ROWS", 3)
    text = "email,x\n" + "".join(f"p{number}@example.com,{'x' * 600}\n" for number in range(9))
    job = start(upload(workspace, text), mapping={0: "email", 1: "x"})
    with closing(importing_chunks.chunks_of(job, 8000)) as chunks:
        assert [chunk.rows for chunk in chunks] == [3, 3, 3]
    assert counters(run(job)) == {"created": 9}
