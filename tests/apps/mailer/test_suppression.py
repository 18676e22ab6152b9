"""What is never mailed: addresses and domains, pasted, uploaded, searched, removed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import User, Workspace
from apps.campaigns import selectors as campaign_selectors
from apps.campaigns.services.ledger import audience, endings
from apps.mailer.models import BulkJob, Suppression
from apps.mailer.services import bulk, suppression
from tests.apps.campaigns.rows import hand_off, statuses
from tests.apps.mailer.helpers import workbook
from tests.support import factories

pytestmark = pytest.mark.django_db
URL = "/w/shop/audience/suppression/"


@pytest.fixture
def client(client_of: Callable[[User], Client], owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


def entries(workspace: Workspace) -> list[str]:
    return sorted(Suppression.objects.filter(workspace=workspace).values_list("email", flat=True))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("@Example.COM", "@example.com"),
        ("example.com", "@example.com"),
        (" @почта.рф ", "@xn--80a1acny.xn--p1ai"),
        ("Ann <ann@example.com>", "ann@example.com"),
        ("", None), ("@", None), ("localhost", None), ("a b.com", None), ("#abc", None),
        ("@@example.com", None), ("1.2.3.4", None), ("@-a.com", None),
    ],
)  # fmt: skip
def test_entries(text: str, entry: str | None) -> None:
    assert suppression.entry_of(text) == entry


@given(st.text(max_size=300))
def test_any_text_is_an_entry_or_none(text: str) -> None:
    entry = suppression.entry_of(text)
    assert entry is None or (suppression.entry_of(entry) == entry and "@" in entry)


def test_pasting(client: Client, workspace: Workspace, owner: User) -> None:
    text = "ann@example.com, @example.org;bob@example.com\r\nexample.net\nAnn <ann@example.com>\n"
    answer = client.post(URL, {"email": text}, follow=True)
    assert "4 new entries" in answer.text
    assert entries(workspace) == ["@example.net", "@example.org", "ann@example.com",
                                  "bob@example.com"]  # fmt: skip
    assert set(Suppression.objects.values_list("source", flat=True)) == {f"user:{owner.pk}"}
    assert "by a member of the workspace" in answer.text


def test_what_is_wrong_stays_in_the_form(client: Client, workspace: Workspace) -> None:
    text = client.post(URL, {"email": "ann@example.com\n<script>\nnobody"}).text
    assert "1 new entry" in text
    assert "2 are not email addresses or domains" in text
    assert "&lt;script&gt;\nnobody</textarea>" in text
    assert entries(workspace) == ["ann@example.com"]
    assert "Paste at least one" in client.post(URL, {"email": ",;,"}).text
    many = "\n".join(f"{n}@example.com" for n in range(10_001))
    assert "upload them as a file" in client.post(URL, {"email": many}).text
    assert client.post(URL, {"email": "a\0b"}).status_code == 200


def upload(client: Client, content: bytes, name: str = "list.csv") -> Any:
    return client.post(f"{URL}upload/", {"file": SimpleUploadedFile(name, content)}, follow=True)


CSV = b"Name,Email\nA,ann@example.com\nB,nobody\nC,'@example.org\n"


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        (CSV, "a.csv", ["@example.org", "ann@example.com"]),
        (b"ann@example.com\r\nexample.org\n\nnobody", "a.txt", ["@example.org", "ann@example.com"]),
        (b"example.org\nexample.net\n", "a.txt", ["@example.net", "@example.org"]),
        (b"Domain\nexample.org\n@example.net\n", "a.csv", ["@example.net", "@example.org"]),
        (workbook([("Email",), ("ann@example.com",), ("example.org",)]), "a.xlsx",
         ["@example.org", "ann@example.com"]),
    ],
    ids=["csv", "txt", "domains", "headed domains", "xlsx"],
)  # fmt: skip
def test_uploading(
    client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, content: bytes,
    name: str, found: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("apps.mailer.services.suppression_files.CHUNK", 1)
    monkeypatch.setattr(bulk, "SLICE_SECONDS", -1.0)
    upload(client, content, name)
    job = BulkJob.objects.get()
    for _turn in range(10):
        bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.changed) == ("finished", len(found))
    assert entries(workspace) == found
    assert f"from the file “{name}”" in client.get(URL).text


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b" \n "])
def test_no_list_is_refused(client: Client, workspace: Workspace, content: bytes) -> None:
    answer = upload(client, content)
    assert answer.status_code == 200
    assert not BulkJob.objects.exists()


def test_a_file_that_is_gone(client: Client, workspace: Workspace) -> None:
    upload(client, CSV)
    job = BulkJob.objects.get()
    Path(job.file.path).unlink()
    bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "file_missing")
    assert client.get(f"/w/shop/audience/jobs/{job.pk}/").status_code == 200
    assert client.get(f"/w/shop/audience/jobs/{job.pk}/file/").status_code == 404


def test_search_and_pages(client: Client, workspace: Workspace) -> None:
    for number in range(60):
        Suppression.objects.create(workspace=workspace, email=f"p{number:02}@example.com",
                                   reason="manual")  # fmt: skip
    text = client.get(URL).text
    assert "p00@example.com" in text
    assert "p50@example.com" not in text
    assert "p50@example.com" in client.get(URL, {"after": "p49@example.com"}).text
    assert "p07@example.com" in client.get(URL, {"search": "P07"}).text
    for hostile in ("\0", "%", "'; --", "\\"):
        text = client.get(URL, {"search": hostile, "after": hostile}).text
        assert "</html>" in text


def test_who_may(
    client_of: Callable[[User], Client], teammate: User, outsider: User, workspace: Workspace
) -> None:
    for path in ("", "upload/", "export/"):
        assert client_of(outsider).post(URL + path, {"email": "x.example"}).status_code == 404
    assert client_of(teammate).post(f"{URL}export/").status_code == 302
    assert client_of(teammate).get(f"{URL}upload/").status_code == 405
    assert BulkJob.objects.get().action == "export_suppression"
    assert entries(workspace) == []


def test_a_domain_keeps_a_campaign_away(workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    for email in ("ann@example.com", "bob@example.org", "cat@sub.example.com"):
        factories.make_contact(workspace, email, to=news)
    suppression.suppress(workspace=workspace, email="@example.com", reason="manual", source="")
    # Both entries hold: still one row.
    suppression.suppress(workspace=workspace, email="ann@example.com", reason="manual", source="")
    elsewhere = factories.make_workspace()
    suppression.suppress(workspace=elsewhere, email="example.org", reason="manual", source="")
    campaign = factories.make_campaign(workspace, news)
    found = campaign_selectors.audience(workspace, list_ids=[news.pk], verdicts=["valid"])
    assert (found.sendable, found.left_out) == (2, {"suppressed": 1})
    assert audience.snapshot(campaign.pk) == 2
    assert set(campaign.deliveries.values_list("email", flat=True)) == {
        "bob@example.org", "cat@sub.example.com",
    }  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_a_domain_that_is_suppressed_on_the_way(workspace: Workspace) -> None:
    campaign = factories.make_campaign(workspace, state="sending")
    for email in ("ann@example.com", "bob@example.org"):
        factories.make_delivery(campaign, factories.make_contact(workspace, email))
    suppression.suppress(workspace=workspace, email="example.com", reason="manual", source="")
    assert len(hand_off(campaign, uuid.uuid4())) == 1
    assert statuses(campaign) == {"suppressed": 1, "handing_off": 1}


def test_waiting_rows_of_a_domain(workspace: Workspace) -> None:
    campaign = factories.make_campaign(workspace, state="sending")
    for email in ("ann@example.com", "joe@example.com", "bob@example.org"):
        factories.make_delivery(campaign, factories.make_contact(workspace, email))
    assert endings.suppress_waiting(workspace.pk, "@example.com") == 2
    assert endings.suppress_waiting(workspace.pk, "bob@example.org") == 1
