from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from openpyxl import load_workbook

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Campaign, CampaignLink, Delivery
from apps.mailer.services import export_files
from apps.tracking.models import Event, ReportShare
from apps.tracking.reports import report_of
from apps.tracking.services import events, report_files, shares
from tests.support.factories import make_campaign, make_contact, make_delivery

ClientOf = Callable[[User], Client]
LAUNCHED = datetime(2026, 3, 2, 10, 20, tzinfo=UTC)
NAMES = ("anna", "boris", "clara", "daniel", "elena", "felix")
HTML = (
    '<p><a href="https://shop.test/first">First <b>book</b></a> and '
    '<a href="https://shop.test/second">second</a>, <a href="mailto:a@shop.test">mail</a></p>'
)


def happen(campaign: Campaign, place: int, kind: str, *, hours: int = 1, **more: object) -> None:
    row = campaign.deliveries.order_by("contact_id")[place]
    Event.objects.create(
        at=LAUNCHED + timedelta(hours=hours),
        number=Event.objects.count() + 1,
        workspace_id=campaign.workspace_id,
        campaign_id=campaign.pk,
        contact_id=row.contact_id,
        kind=kind,
        provider=row.provider,
        variant=row.variant,
        **more,
    )


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    """Six letters: three accepted, one mailbox that does not exist, one full, one unknown."""
    campaign = make_campaign(
        workspace,
        name="=Spring & summer",
        html=HTML,
        state=Campaign.State.FINISHED,
        launched_at=LAUNCHED,
        finished_at=LAUNCHED + timedelta(minutes=5),
    )
    for number, url in enumerate(("https://shop.test/first", "https://shop.test/second"), 1):
        CampaignLink.objects.create(campaign=campaign, number=number, url=url)
    outcomes = [("sent", ""), ("sent", ""), ("sent", ""), ("failed", "mailbox"),
                ("failed", "full"), ("unknown", "network")]  # fmt: skip
    for name, (status, fault) in zip(NAMES, outcomes, strict=True):
        contact = make_contact(workspace, f"{name}@inbox.sandbox.test")
        provider = "gmail" if name in {"anna", "boris"} else "mailru"
        make_delivery(
            campaign, contact, status=status, fault=fault, provider=provider, updated_at=LAUNCHED
        )
    happen(campaign, 0, "open", device="phone", country="de")
    happen(campaign, 0, "open", hours=2)
    happen(campaign, 0, "click", hours=2, link=1)
    happen(campaign, 1, "open", machine="apple")
    happen(campaign, 1, "click", hours=30, link=2)
    happen(campaign, 2, "click", machine="scanner", link=1)
    happen(campaign, 2, "unsubscribe", hours=3, detail="too_many")
    happen(campaign, 2, "complaint", hours=60)
    happen(campaign, 2, "bounce", hours=4, detail="full")
    return campaign


def test_the_report_adds_up(campaign: Campaign) -> None:
    found = report_of(campaign)
    rates = found.rates
    assert (rates.accepted, rates.bounced, rates.hard) == (3, 2, 1)
    assert (rates.opened, rates.clicked) == (2, 2)
    assert (rates.unsubscribed, rates.complained) == (1, 1)
    assert (found.opens.events, found.opens.machines, found.clicks.events) == (3, 1, 3)
    assert [(one.number, one.clicks.people, one.clicks.events) for one in found.links] == [
        (1, 1, 2),
        (2, 1, 1),
    ]
    gmail, mailru = found.providers
    assert (gmail.key, gmail.accepted, gmail.opens.people, gmail.clicks.people) == (
        "gmail", 2, 2, 2,
    )  # fmt: skip
    assert (mailru.accepted, mailru.opens.people, mailru.complained) == (1, 0, 1)
    assert [(row.query, row.number, row.temporary) for row in found.missed] == [
        ("status=failed&fault=full", 1, True),
        ("status=failed&fault=mailbox", 1, False),
        ("status=unknown", 1, False),
    ]
    assert found.returned == [("The mailbox is full", 1)]
    assert found.reasons == [("Too many letters", 1)]
    assert [(row.key, row.opens.by_people) for row in found.devices] == [("phone", 1)]
    assert found.variants == []
    for points, length in ((found.hours, 48), (found.days, 3)):
        assert len(points) == length
    assert [sum(column) for column in zip(*(one.values for one in found.days), strict=True)] == [
        3, 2, 2, 1, 1, 1,
    ]  # fmt: skip
    assert found.usual.campaigns == 0


def test_a_reason_given_later_is_counted(campaign: Campaign) -> None:
    person = campaign.deliveries.order_by("contact_id")[2].contact_id
    for reason in ("never_asked", "other"):
        assert events.explain(campaign_id=campaign.pk, contact_id=person, reason=reason)
    assert report_of(campaign).reasons == [("Something else", 1)]
    assert not events.explain(campaign_id=campaign.pk, contact_id=person + 1, reason="other")


def test_what_is_usual_needs_three_campaigns(workspace: Workspace, campaign: Campaign) -> None:
    for opened in (1, 2, 4):
        earlier = make_campaign(workspace, state=Campaign.State.FINISHED, launched_at=LAUNCHED)
        for _ in range(4):
            make_delivery(earlier, make_contact(workspace), status="sent")
        for place in range(opened):
            happen(earlier, place, "open")
    later = make_campaign(workspace, state=Campaign.State.FINISHED)
    usual = report_of(later).usual
    assert usual.campaigns == 4
    assert usual.open_rate == pytest.approx((0.5 + 2 / 3) / 2)
    assert report_of(campaign).usual.open_rate is None


PAGES = ("", "live/", "click-map/", "share/", "files/summary.csv", "files/recipients.csv",
         "files/recipients.xlsx", "files/report.xlsx")  # fmt: skip


def test_reports_are_for_members(
    workspace: Workspace,
    campaign: Campaign,
    owner: User,
    teammate: User,
    outsider: User,
    client_of: ClientOf,
) -> None:
    theirs = outsider.workspaces.get().slug
    for page in PAGES:
        path = f"/w/shop/reports/{campaign.pk}/{page}"
        assert client_of(owner).get(path).status_code == 200, page
        assert client_of(teammate).get(path).status_code == 200, page
        assert client_of(outsider).get(path).status_code == 404, page
        assert client_of(outsider).get(path.replace("shop", theirs, 1)).status_code == 404, page
        assert Client().get(path).status_code == 302, page
    assert client_of(outsider).get("/w/shop/reports/").status_code == 404
    for path in ("share/", "send-again/"):
        path = f"/w/shop/reports/{campaign.pk}/{path}"
        assert client_of(outsider).post(path, {"days": "7"}).status_code == 404
    assert not ReportShare.objects.exists()


def test_the_list_shows_the_main_rates(
    workspace: Workspace, campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    untracked = make_campaign(workspace, state=Campaign.State.FINISHED, track_opens=False)
    make_campaign(workspace, name="A draft")
    page = client_of(owner).get("/w/shop/reports/").content.decode()
    assert "66.7%" in page
    assert "not counted" in page
    assert f"/w/shop/reports/{untracked.pk}/" in page
    assert "A draft" not in page
    assert "No campaign fits" in client_of(owner).get("/w/shop/reports/?search=x").content.decode()


def test_an_empty_list_says_what_to_do(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    assert "No reports yet" in client_of(owner).get("/w/shop/reports/").content.decode()


def test_a_report_that_says_nothing_says_why(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    draft = make_campaign(workspace)
    assert client.get(f"/w/shop/reports/{draft.pk}/").status_code == 302
    assert client.get(f"/w/shop/reports/{draft.pk}/live/").status_code == 404
    empty = make_campaign(workspace, state=Campaign.State.FINISHED)
    assert "Nobody got this letter" in client.get(f"/w/shop/reports/{empty.pk}/").content.decode()
    begun = make_campaign(workspace, state=Campaign.State.SENDING)
    page = client.get(f"/w/shop/reports/{begun.pk}/").content.decode()
    assert "Nothing is sent yet" in page
    assert 'hx-trigger="every 2s"' in page
    silent = make_campaign(
        workspace, state=Campaign.State.FINISHED, track_opens=False, track_clicks=False
    )
    make_delivery(silent, make_contact(workspace), status="sent")
    page = client.get(f"/w/shop/reports/{silent.pk}/").content.decode()
    assert "Neither opens nor clicks were counted" in page
    assert "People who opened" not in page
    assert 'hx-trigger="every' not in page


def test_figures_lead_to_their_rows_and_to_sending_again(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(f"/w/shop/reports/{campaign.pk}/").content.decode()
    rows = f"/w/shop/campaigns/{campaign.pk}/deliveries/"
    for query in ("status=sent", "status=failed&amp;fault=mailbox", "status=unknown",
                  "provider=gmail"):  # fmt: skip
        assert f"{rows}?{query}" in page
    for button in ('id="send-again"', 'id="retry-unknown"', 'id="resend"'):
        assert button in page


def test_what_failed_for_a_while_is_sent_again(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    client, path = client_of(owner), f"/w/shop/reports/{campaign.pk}/send-again/"
    assert "Send 1 letter again?" in client.get(path).content.decode()
    assert client.post(path).status_code == 302
    statuses = dict(Delivery.objects.values_list("email", "status"))
    assert statuses["elena@inbox.sandbox.test"] == "queued"
    assert statuses["daniel@inbox.sandbox.test"] == "failed"
    campaign.refresh_from_db()
    assert campaign.state == Campaign.State.SENDING
    assert client.get(path).status_code == 302  # nothing is left
    Campaign.objects.update(state=Campaign.State.CANCELLED)
    Delivery.objects.filter(status="queued").update(status="failed", fault="full")
    assert client.post(path).status_code == 302
    assert not Delivery.objects.filter(status="queued").exists()


def test_the_click_map_counts_beside_the_links(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    response = client_of(owner).get(f"/w/shop/reports/{campaign.pk}/click-map/")
    html = response.content.decode()
    assert "sandbox" in response["Content-Security-Policy"]
    assert re.search(r"<b>book</b></a><span[^>]*>1 · 50(.0)?%</span>", html)
    assert "https://shop.test" not in html
    assert "mailto:a@shop.test" in html


def test_tables_as_csv_are_safe_for_spreadsheets(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    for table in ("summary", "links", "providers", "days", "hours", "recipients"):
        response = client.get(f"/w/shop/reports/{campaign.pk}/files/{table}.csv")
        text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        rows = list(csv.reader(io.StringIO(text)))
        assert len(rows) > 1, table
        if table == "summary":
            assert dict(row for row in rows)["Campaign"] == "'=Spring & summer"
        if table == "recipients":
            assert [row[:3] for row in rows[1:5:3]] == [
                ["anna@inbox.sandbox.test", "Accepted by the server", ""],
                ["daniel@inbox.sandbox.test", "Failed", "No such mailbox"],
            ]
    assert client.get(f"/w/shop/reports/{campaign.pk}/files/secrets.csv").status_code == 404


def test_recipients_as_a_workbook_are_those_of_the_csv(
    campaign: Campaign, owner: User, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of the ledger and on several sheets; what could be a formula is text."""
    monkeypatch.setattr(report_files, "CHUNK", 2)
    monkeypatch.setattr(export_files, "SHEET_ROWS", 4)
    campaign.deliveries.filter(status="unknown").update(
        email="=2+2@shop.test", reply='=HYPERLINK("https://bad.test")\x07', code=421
    )
    client = client_of(owner)
    pages = {
        kind: b"".join(
            client.get(f"/w/shop/reports/{campaign.pk}/files/recipients.{kind}").streaming_content  # type: ignore[attr-defined]
        )
        for kind in ("csv", "xlsx")
    }
    table = list(csv.reader(io.StringIO(pages["csv"].decode("utf-8-sig"))))
    book = load_workbook(io.BytesIO(pages["xlsx"]))
    assert book.sheetnames == ["Sheet1", "Sheet2"]
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells if cell.value is not None} == {"s"}
    found = [
        ["" if value is None else value for value in row]
        for sheet in book
        for row in sheet.iter_rows(values_only=True)
    ]
    assert [sheet.max_row for sheet in book] == [4, 4]
    assert found[0] == found[4] == table[0]
    odd = table[-1]
    assert (odd[0], odd[3], odd[4][:12]) == ("'=2+2@shop.test", "421", "'=HYPERLINK(")
    table[-1] = [cell.replace("\x07", "") for cell in odd]
    assert [*found[1:4], *found[5:]] == table[1:]


def test_a_workbook_goes_out_while_its_rows_are_read() -> None:
    asked: list[int] = []

    def rows() -> Iterator[list[str]]:
        for number in range(60_000):
            asked.append(number)
            yield [f"{number * 7919 % 100_003}@mail.test", str(number * 104_729 % 1_000_003)]

    pieces = export_files.book_pieces(["Address", "Number"], rows())
    begin = next(pieces)
    assert len(asked) == 1
    begin += next(pieces)
    assert len(asked) < 30_000
    book = load_workbook(io.BytesIO(begin + b"".join(pieces)), read_only=True)
    assert len(list(book.worksheets[0].iter_rows())) == 60_001


def test_an_empty_workbook_has_its_header() -> None:
    book = load_workbook(io.BytesIO(b"".join(export_files.book_pieces(["Address"], []))))
    assert [[cell.value for cell in row] for row in book.worksheets[0]] == [["Address"]]


def test_the_workbook_has_a_sheet_for_each_table(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    response = client_of(owner).get(f"/w/shop/reports/{campaign.pk}/files/report.xlsx")
    book = load_workbook(io.BytesIO(response.content), read_only=True)
    assert book.sheetnames == [
        "Summary", "Links", "Providers", "Devices", "Countries", "Hours", "Days",
    ]  # fmt: skip
    rows = list(book["Links"].iter_rows(values_only=True))
    assert rows[1] == (1, "https://shop.test/first", 1, 2, 1)


def test_a_shared_report_needs_no_account_and_names_nobody(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    client.post(f"/w/shop/reports/{campaign.pk}/share/", {"days": "7"})
    path = shares.path_of(ReportShare.objects.get())
    assert path in client.get(f"/w/shop/reports/{campaign.pk}/share/").content.decode()
    visitor = Client()
    response = visitor.get(path)
    page = response.content.decode()
    assert response.status_code == 200
    assert not response.cookies
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert "People who opened" in page
    for secret in (*(f"{name}@" for name in NAMES), "/w/shop/", "csrfmiddlewaretoken"):
        assert secret not in page
    assert visitor.get(f"{path}click-map/").status_code == 200
    assert visitor.post(path).status_code == 405


def test_a_shared_link_ends(campaign: Campaign, owner: User, client_of: ClientOf) -> None:
    first = shares.path_of(shares.share(campaign=campaign, by=owner, days=7))
    second = shares.path_of(shares.share(campaign=campaign, by=owner, days=30))
    assert Client().get(first).status_code == 404
    assert Client().get(second).status_code == 200
    ReportShare.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for page in ("", "click-map/"):
        assert Client().get(second + page).status_code == 404
    ReportShare.objects.update(expires_at=timezone.now() + timedelta(days=1))
    client_of(owner).post(f"/w/shop/reports/{campaign.pk}/share/", {"action": "revoke"})
    assert Client().get(second).status_code == 404
    for forged in (second[:-3], second.replace(".", ".0"), "/r/1/", "/r/x.y/", "/r/%D9%A1.a/"):
        assert Client().get(forged).status_code in {301, 404}
    answer = client_of(owner).post(f"/w/shop/reports/{campaign.pk}/share/", {"days": "9000"})
    assert answer.status_code == 302  # with what was wrong
    assert not ReportShare.objects.exists()
