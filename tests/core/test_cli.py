from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from apps.accounts.cli import WorkspaceCommand, find_workspace
from apps.accounts.models import Workspace
from core import cli
from core.errors import Conflict
from tests.support import factories

OURS = sorted(name for name, app in get_commands().items() if app.startswith(("apps.", "core")))


@pytest.mark.parametrize("name", OURS)
def test_every_command_has_help(name: str) -> None:
    command = load_command_class(get_commands()[name], name)
    assert command.help
    text = command.create_parser("manage.py", name).format_help()
    assert text.startswith(f"usage: manage.py {name}")


def test_our_commands_are_found() -> None:
    assert {"import_contacts", "create_campaign", "launch_campaign", "campaign_report"} <= set(OURS)


class Example(WorkspaceCommand):
    help = "What a test hands over is the result."
    result: Any = None

    def run(self, **options: Any) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result | {"workspace": self.workspace.slug}


def output_of(result: Any, **options: Any) -> str:
    command, out = Example(), io.StringIO()
    command.result = result
    call_command(command, stdout=out, **options)
    return out.getvalue()


def test_results_for_people_and_for_programs(workspace: Workspace) -> None:
    result = {"sent_at": datetime(2026, 1, 2, tzinfo=UTC), "counts": {"ok": 1, "плохо": 2}}
    assert output_of(result) == (
        "sent at: 2026-01-02 00:00:00+00:00\ncounts: ok 1, плохо 2\nworkspace: shop\n"
    )
    assert json.loads(output_of(result, json=True)) == {
        "sent_at": "2026-01-02 00:00:00+00:00",
        "counts": {"ok": 1, "плохо": 2},
        "workspace": "shop",
    }


def test_an_expected_trouble_is_a_sentence(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match="Too late"):
        output_of(Conflict("Too late."))


def test_a_result_with_an_error_fails_after_it_is_shown(workspace: Workspace) -> None:
    command, out = Example(), io.StringIO()
    command.result = {"error": "It broke."}
    with pytest.raises(CommandError, match="It broke"):
        call_command(command, json=True, stdout=out)
    assert json.loads(out.getvalue())["error"] == "It broke."


def test_an_interrupt_has_its_own_exit_code(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Example, "run", interrupted)
    with pytest.raises(SystemExit) as raised:
        output_of({})
    assert raised.value.code == 130


@pytest.mark.django_db
def test_the_workspace_where_there_is_none() -> None:
    with pytest.raises(CommandError, match="there are: none"):
        find_workspace(None)


def test_the_workspace_where_there_are_several(workspace: Workspace) -> None:
    assert find_workspace(None) == workspace
    other = factories.make_workspace(slug="other")
    assert find_workspace("other") == other
    for slug in (None, "", "OTHER", "nowhere"):
        with pytest.raises(CommandError, match="there are: other, shop"):
            find_workspace(slug)


def test_following_shows_progress_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "POLL_SECONDS", 0)
    steps = iter([(0, 0, False), (1, 2, False), (3, 2, False), (3, 3, True)])
    cli.follow("Working", lambda: next(steps))
    out, err = capfd.readouterr()
    assert out == ""
    assert "Working" in err
    assert "3/3" in err


def test_following_nothing_at_all() -> None:
    cli.follow("Working", lambda: (0, 0, True))


def test_a_standstill_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "POLL_SECONDS", 0)
    monkeypatch.setattr(cli, "STANDSTILL_SECONDS", -1)
    with pytest.raises(CommandError, match="are workers running"):
        cli.follow("Working", lambda: (1, 2, False))
