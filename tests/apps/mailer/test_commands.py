from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, ContactField, ContactList, Import
from apps.mailer.services import imports
from core import cli
from tests.apps.mailer.helpers import run, workbook
from tests.support import factories
from tests.support.sandbox import Sandbox
from tests.support.worker import running_worker

pytestmark = pytest.mark.django_db

PEOPLE = (
    "Почта;Имя;Город\n"
    "ann@inbox.sandbox.test;Анна;Уфа\n"
    "ANN@inbox.sandbox.test;Анна;Уфа\n"
    "nosuch@inbox.sandbox.test;Борис;Омск\n"
    "not an address;Вера;\n"
)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE, encoding="utf-8")
    return path


def import_contacts(*arguments: object, **options: Any) -> Any:
    out = io.StringIO()
    call_command("import_contacts", *map(str, arguments), stdout=out, **options)
    return json.loads(out.getvalue()) if "--json" in arguments else out.getvalue()


def files_kept(settings: LazySettings) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_a_file_is_queued(workspace: Workspace, people: Path) -> None:
    result = import_contacts(people, "--list", "Regular  customers", "--json")
    job = Import.objects.get(pk=result["import"])
    assert result == {
        "import": job.pk, "state": "queued", "rows": 0, "created": 0, "updated": 0,
        "unchanged": 0, "duplicate": 0, "rejected": 0,
        "verdicts": {"valid": 0, "risky": 0, "invalid": 0, "unknown": 0},
    }  # fmt: skip
    assert (job.workspace, job.name, job.level) == (workspace, "people.csv", "full")
    assert job.mapping == {"0": "email", "1": "first_name", "2": "gorod"}
    assert str(job.list) == "Regular customers"
    assert ContactField.objects.get().label == "Город"
    again = import_contacts(people, "--list", "Regular customers", "--json")
    assert ContactList.objects.get() == Import.objects.get(pk=again["import"]).list


def test_the_result_for_people(workspace: Workspace, people: Path) -> None:
    text = import_contacts(people, "--list", "News")
    assert "state: queued\n" in text
    assert "verdicts: valid 0, risky 0, invalid 0, unknown 0\n" in text


def test_columns_are_mapped_by_hand(workspace: Workspace, people: Path) -> None:
    result = import_contacts(
        people, "--list", "News", "--level", "quick", "--json",
        "--map", "email=Почта", "last_name=Имя", "Ваш город=Город",
    )  # fmt: skip
    job = Import.objects.get(pk=result["import"])
    assert job.mapping == {"0": "email", "1": "last_name", "2": "vash_gorod"}
    assert job.level == "quick"
    run(job)
    ann = Contact.objects.get(email="ann@inbox.sandbox.test")
    assert (ann.last_name, ann.fields) == ("Анна", {"vash_gorod": "Уфа"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--map", "email=Adress"], "one of Почта, Имя, Город"),
        (["--map", "email"], "FIELD=COLUMN"),
        (["--map", "first_name=Имя"], "holds the email"),
        (["--map", "email=Почта", "email=Имя"], "same field"),
        (["--map", "email=Почта", "!!=Имя"], "cannot name a field"),
        (["--map", "email=Почта", "city=Почта"], "twice"),
    ],
)
def test_a_wrong_mapping_leaves_nothing(
    workspace: Workspace, people: Path, settings: LazySettings, arguments: list[str], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        import_contacts(people, "--list", "News", *arguments)
    assert not Import.objects.exists()
    assert files_kept(settings) == []


def test_a_list_name_that_cannot_be_leaves_nothing(
    workspace: Workspace, people: Path, settings: LazySettings
) -> None:
    with pytest.raises(CommandError, match="at most 100"):
        import_contacts(people, "--list", "x" * 101)
    assert not Import.objects.exists()
    assert files_kept(settings) == []


def test_a_file_that_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(CommandError, match="no file"):
            import_contacts(path, "--list", "News")


def test_a_file_that_is_no_table(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"%PDF-1.7")
    with pytest.raises(CommandError, match="pdf found"):
        import_contacts(path, "--list", "News")


def test_among_several_workspaces_one_must_be_named(workspace: Workspace, people: Path) -> None:
    other = factories.make_workspace(slug="other")
    with pytest.raises(CommandError, match=r"--workspace SLUG; there are: other, shop"):
        import_contacts(people, "--list", "News")
    with pytest.raises(CommandError, match="there are"):
        import_contacts(people, "--list", "News", "--workspace", "nowhere")
    import_contacts(people, "--list", "News", "--workspace", "other")
    assert Import.objects.get().workspace == other
    assert ContactList.objects.get().workspace == other


@pytest.mark.django_db(transaction=True)
def test_waiting_for_rows_and_verdicts(
    workspace: Workspace, people: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "POLL_SECONDS", 0.02)
    with running_worker() as tasks:
        result = import_contacts(people, "--list", "News", "--wait", "--json")
    assert result | {"import": 0} == {
        "import": 0, "state": "finished", "rows": 4, "created": 2, "updated": 0,
        "unchanged": 0, "duplicate": 1, "rejected": 1,
        "verdicts": {"valid": 1, "risky": 0, "invalid": 1, "unknown": 0},
    }  # fmt: skip
    assert tasks[0] == "apps.mailer.tasks.import_contacts_async"


@pytest.mark.django_db(transaction=True)
def test_an_import_that_fails_fails_the_command(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "POLL_SECONDS", 0.02)
    path = tmp_path / "people.xlsx"
    path.write_bytes(workbook([("email",), ("ann@inbox.sandbox.test",)]))
    real = imports.start_import

    def start_import(*, job: Import, **options: Any) -> None:
        Path(job.file.path).unlink()
        real(job=job, **options)

    monkeypatch.setattr(imports, "start_import", start_import)
    out = io.StringIO()
    with running_worker(), pytest.raises(CommandError, match="gone from the server"):
        call_command("import_contacts", str(path), "--list=News", "--wait", "--json", stdout=out)
    result = json.loads(out.getvalue())
    assert result["state"] == "failed"
    assert "gone from the server" in result["error"]


@pytest.mark.django_db(transaction=True)
def test_an_import_cancelled_before_its_turn_ends_the_wait(
    workspace: Workspace, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = imports.start_import

    def start_import(*, job: Import, **options: Any) -> None:
        real(job=job, **options)
        imports.cancel_import(job=job)

    monkeypatch.setattr(imports, "start_import", start_import)
    assert import_contacts(people, "--list", "News", "--wait", "--json")["state"] == "cancelled"
