from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.campaigns.services import partitions
from core import cli
from tests.support import factories
from tests.support.sandbox import Sandbox
from tests.support.worker import running_worker

pytestmark = pytest.mark.django_db


def command(name: str, *arguments: object, **options: Any) -> Any:
    out = io.StringIO()
    call_command(name, *map(str, arguments), stdout=out, **options)
    return json.loads(out.getvalue()) if "--json" in arguments else out.getvalue()


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "letter.html"
    path.write_text("<p>Привет, {{ first_name }}</p>", encoding="utf-8")
    return path


# create_campaign


def test_a_draft_is_made(workspace: Workspace, letter: Path, tmp_path: Path) -> None:
    lists = [factories.make_list(workspace, name) for name in ("News", "Sales")]
    text = tmp_path / "letter.txt"
    text.write_text("Привет", encoding="utf-8")
    result = command(
        "create_campaign", "--list", "News", "--list", "Sales", "--subject", "Каталог",
        "--html", letter, "--text", text, "--from", '"Shop, Ltd" <News@Example.com>',
        "--include", "valid", "risky", "--json",
    )  # fmt: skip
    campaign = Campaign.objects.get()
    assert result == {"campaign": campaign.pk, "name": "Каталог", "state": "draft"}
    assert (campaign.from_name, campaign.from_email) == ("Shop, Ltd", "news@example.com")
    assert (campaign.html, campaign.text) == ("<p>Привет, {{ first_name }}</p>", "Привет")
    assert campaign.include_verdicts == ["valid", "risky"]
    assert set(campaign.lists.all()) == set(lists)


def test_an_address_alone_has_no_name(workspace: Workspace) -> None:
    factories.make_list(workspace, "News")
    text = command(
        "create_campaign", "--list", "News", "--subject", "S", "--from", "a@example.com",
        "--name", "Autumn",
    )  # fmt: skip
    assert "name: Autumn\nstate: draft\n" in text
    campaign = Campaign.objects.get()
    assert (campaign.from_name, campaign.from_email) == ("", "a@example.com")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--list", "Nobody"], "no list named 'Nobody' in shop"),
        (["--list", "Theirs"], "no list named 'Theirs' in shop"),
        (["--list", "News", "--from", "nobody"], "not an address: no_at"),
        (["--list", "News", "--from", "a@example.com\r\nBcc: b@example.com"], "not an address"),
        (["--list", "News", "--html", "missing.html"], "missing.html"),
        (["--list", "News", "--name", "two\nlines"], "line breaks"),
        (["--list", "News", "--include", "any"], "invalid choice"),
    ],
)
def test_drafts_that_cannot_be(workspace: Workspace, arguments: list[str], words: str) -> None:
    factories.make_list(workspace, "News")
    factories.make_list(factories.make_workspace(), "Theirs")
    with pytest.raises(CommandError, match=words):
        command("create_campaign", "--subject", "S", "--workspace", "shop", *arguments)
    assert not Campaign.objects.exists()


def test_a_letter_that_is_not_text(workspace: Workspace, tmp_path: Path) -> None:
    factories.make_list(workspace, "News")
    path = tmp_path / "letter.html"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(CommandError, match=r"letter\.html"):
        command("create_campaign", "--list", "News", "--subject", "S", "--html", path)


# launch_campaign and campaign_report


def test_a_launch_is_asked_for(workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    factories.make_contact(workspace, to=news)
    campaign = factories.make_campaign(workspace, news)
    result = command("launch_campaign", campaign.pk, "--json")
    assert result["campaign"] == campaign.pk
    assert result["state"] == "preparing"
    assert set(result["deliveries"].values()) == {0}
    with pytest.raises(CommandError, match="already"):
        command("launch_campaign", campaign.pk)


def test_a_launch_that_makes_no_sense(workspace: Workspace) -> None:
    campaign = factories.make_campaign(workspace, factories.make_list(workspace), subject="")
    with pytest.raises(CommandError, match="Write a subject"):
        command("launch_campaign", campaign.pk)
    campaign.refresh_from_db()
    assert campaign.is_draft


@pytest.mark.parametrize("name", ["launch_campaign", "campaign_report"])
def test_campaigns_of_others_do_not_exist(workspace: Workspace, name: str) -> None:
    elsewhere = factories.make_workspace()
    theirs = factories.make_campaign(elsewhere, factories.make_list(elsewhere))
    for number in (theirs.pk, theirs.pk + 1_000_000):
        with pytest.raises(CommandError, match=f"no campaign {number} in shop"):
            command(name, number, "--workspace", "shop")
    with pytest.raises(CommandError, match="invalid int"):
        command(name, "first", "--workspace", "shop")
    theirs.refresh_from_db()
    assert theirs.is_draft


def test_a_report(workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    campaign = factories.make_campaign(workspace, news, name="Autumn", state="finished", audience=3)
    partitions.ensure_partition(campaign.pk)
    for status in ("sent", "failed", "failed"):
        contact = factories.make_contact(workspace, to=news)
        factories.make_delivery(
            campaign, contact, status=status, stage="rcpt", code=550, reply="No such user"
        )
    result = command("campaign_report", campaign.pk, "--wait", "--json")
    assert (result["name"], result["state"], result["audience"]) == ("Autumn", "finished", 3)
    assert (result["deliveries"]["sent"], result["deliveries"]["failed"]) == (1, 2)
    assert result["failures"] == [
        {"stage": "rcpt", "code": 550, "reply": "No such user", "deliveries": 2}
    ]
    assert "deliveries: waiting 0, queued 0, " in command("campaign_report", campaign.pk)


@pytest.mark.django_db(transaction=True)
def test_from_draft_to_report(
    workspace: Workspace, letter: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "POLL_SECONDS", 0.02)
    news = factories.make_list(workspace, "News")
    for name in ("ann", "bob", "nosuch"):
        factories.make_contact(workspace, f"{name}@inbox.sandbox.test", to=news, first_name=name)
    factories.make_contact(workspace, "cat@inbox.sandbox.test", to=news, verdict="unknown")
    draft = command(
        "create_campaign", "--list", "News", "--subject", "Hello", "--html", letter, "--json"
    )
    with running_worker():
        launched = command("launch_campaign", draft["campaign"], "--wait", "--json")
    assert (launched["state"], launched["audience"]) == ("finished", 3)
    assert (launched["deliveries"]["sent"], launched["deliveries"]["failed"]) == (2, 1)
    assert sorted(message.recipient for message in sandbox.messages) == [
        "ann@inbox.sandbox.test", "bob@inbox.sandbox.test",
    ]  # fmt: skip
    report = command("campaign_report", draft["campaign"], "--json")
    assert report["deliveries"] == launched["deliveries"]
    assert [failure["code"] for failure in report["failures"]] == [550]
