"""A letter's whole life: list, builder, test of subjects, launch, and what becomes of it."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_letters import begin, drag
from tests.support.recipients import SentCampaign, report_again, visit
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

SHOP = "https://shop.example.com/autumn?from=letter"
# How many contacts of each kind of the sandbox's domains, but the one whose letters never end.
KINDS = {
    "inbox": 150, "aonly": 4, "alias": 4, "drop": 3, "catchall": 8, "full": 3, "nosuch": 4,
    "disabled": 2, "denied": 2, "nomx": 2, "nullmx": 2, "nxdomain": 2, "badmx": 2, "grey": 2,
    "busy": 2, "blocked": 1, "policy": 1, "servfail": 1, "timeout": 1, "dnstimeout": 1,
    "lost": 1, "latebounce": 1, "complain": 1,
}  # fmt: skip
INVALID = ("nosuch", "disabled", "denied", "nomx", "nullmx", "nxdomain", "badmx")
GOOD = ("inbox", "aonly", "alias", "drop", "lost", "latebounce", "complain")
MAILED = sum(KINDS[kind] for kind in (*GOOD, "catchall", "full"))


def wait_for(page: Page, found: Any, wanted: Any, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while found() != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(300)
    assert found() == wanted


def import_contacts(page: Page, home: str, folder: Path) -> None:
    rows = [
        f"reader{number}@{kind}.sandbox.test;Reader {number};Kazan"
        for kind, many in KINDS.items()
        for number in range(1, many + 1)
    ]
    file = folder / "readers.csv"
    file.write_text("Email;First name;City\n" + "\n".join(rows))
    page.goto(f"{home}audience/imports/new/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name=re.compile("Upload")).click()
    page.locator("#id_list").select_option("+")
    page.locator("#id_new_list").fill("Readers")
    page.get_by_role("button", name="Start the import").click()
    expect(page.get_by_text("Finished").first).to_be_visible(timeout=60_000)


def build_letter(page: Page, home: str) -> str:
    """A starter with a button of our own, dragged in; the campaign's id."""
    page.goto(f"{home}campaigns/new/")
    page.get_by_label("Name").fill("Autumn")
    page.get_by_role("button", name="Write the letter").click()
    expect(page).to_have_url(re.compile(r"/edit/$"))
    pk = page.url.split("/")[-3]
    page.goto(f"{home}campaigns/{pk}/start-from/")
    page.get_by_role("button", name="Begin with Welcome").click()
    expect(page).to_have_url(re.compile(r"/edit/$"))
    page.locator("#id_subject").fill("{{ first_name }}, autumn is here")
    page.locator("#id_from_name").fill("The shop")
    page.locator("#id_from_email").fill("news@inbox.sandbox.test")
    page.locator("#id_lists_0").check()
    page.locator("[name=include_verdicts][value=risky]").check()
    page.get_by_role("button", name="Open the builder").click()
    expect(page.locator("body[data-ready]")).to_be_attached(timeout=60_000)
    letter = page.frame_locator(".gjs-frame")
    drag(page, page.locator(".gjs-block", has_text="Button"), letter.get_by_text("We are glad"))
    page.locator(".gjs-pn-btn", has_text="Settings").click()
    page.locator(".gjs-trt-trait__wrp-href input").fill(SHOP)
    page.locator(".gjs-trt-trait__wrp-href input").press("Tab")
    button = letter.get_by_text("Read more", exact=True)
    button.dblclick()
    page.keyboard.press("Control+A")
    # No contact has the field, so that preflight has something to ask about.
    page.keyboard.type("To the shop {{ present }}")
    page.get_by_role("link", name="Back").click()
    expect(page).to_have_url(re.compile(r"/edit/$"), timeout=30_000)
    expect(page.frame_locator(".preview-frame").get_by_text("To the shop")).to_be_visible()
    return pk


def try_two_subjects(page: Page, home: str, pk: str) -> None:
    page.locator("#variants").get_by_role("link", name="Set up a test").click()
    page.get_by_role("button", name="Add a variant").click()
    page.locator("#id_subject").fill("Have you seen this, {{ first_name }}?")
    page.get_by_role("button", name="Save the variant").click()
    page.goto(f"{home}campaigns/{pk}/variants/")
    page.get_by_label("Test share, in percent").fill("100")
    page.get_by_role("button", name="Save the test").click()
    expect(page.locator("#messages")).to_contain_text("The test is saved")


def launch(page: Page, home: str, pk: str) -> None:
    page.goto(f"{home}campaigns/{pk}/launch/")
    expect(page.locator("#variants-plan")).to_contain_text("Variant B")
    preflight = page.locator("#preflight")
    expect(preflight).to_contain_text("present")
    expect(preflight).not_to_contain_text("Looking at the links", timeout=60_000)
    page.locator("#acknowledge-unknown_fields").check()
    for box in page.locator("#accept-bounces").all():
        box.check()
    page.get_by_role("button", name=f"Launch to {MAILED} contacts").click()
    expect(page.locator("main")).to_contain_text("Finished", timeout=120_000)


def test_from_the_list_to_the_report(page: Page, stack: RunningStack, tmp_path: Path) -> None:
    home = begin(page, stack, "jana")
    import_contacts(page, home, tmp_path)
    ours = "workspace_id = (SELECT id FROM accounts_workspace WHERE slug = 'jana-shop')"

    def checked() -> list[tuple[Any, ...]]:
        return stack.sql(
            "SELECT verdict, count(*) FROM mailer_contact "
            f"WHERE {ours} AND verdict IN ('valid', 'invalid', 'risky') GROUP BY 1 ORDER BY 1"
        )

    invalid, good = (sum(KINDS[kind] for kind in kinds) for kinds in (INVALID, GOOD))
    wait_for(page, checked, [("invalid", invalid), ("risky", MAILED - good), ("valid", good)])

    pk = build_letter(page, home)
    try_two_subjects(page, home, pk)
    launch(page, home, pk)
    campaign = SentCampaign(stack, pk)

    # Each letter went once, and each subject to half of the people.
    assert (
        stack.sql(
            "SELECT recipient FROM sandbox_message WHERE inbox = (SELECT id::text FROM "
            "accounts_workspace WHERE slug = 'jana-shop') GROUP BY 1 HAVING count(*) > 1"
        )
        == []
    )
    halves = stack.sql(
        "SELECT variant, count(*) FROM campaigns_delivery WHERE campaign_id = %s GROUP BY 1 "
        "ORDER BY 1", pk,
    )  # fmt: skip
    assert [variant for variant, _many in halves] == [1, 2]
    assert abs(halves[0][1] - halves[1][1]) <= 1, halves

    bounced, complained = campaign.received("latebounce"), campaign.received("complain")
    bounce, complaint = (
        (bounced.contact, "bounce", False),
        (complained.contact, "complaint", False),
    )
    wait_for(page, campaign.events, Counter([bounce, complaint]))

    reader, scanner, leaver = (campaign.received("inbox", number) for number in (1, 2, 3))
    lost = campaign.received("lost")
    for letter in (reader, scanner, leaver):
        campaign.age(letter)

    # A person reads, and goes to the shop.
    assert visit(reader.pixel()) == (200, None)
    assert visit(reader.link_of_button()) == (302, SHOP)
    # A gateway looks at everything, and so follows the link that nobody sees.
    links = scanner.links()
    assert len(links) == 3  # the shop, the starter's own and the hidden one
    assert {visit(link)[0] for link in [scanner.pixel(), *links]} == {200, 302}
    # A person says no by the button of the mail program, and presses it twice.
    assert leaver.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    [address] = re.findall(r"<(http[^>]+)>", leaver.headers["List-Unsubscribe"])
    for _ in range(2):
        assert visit(address, "POST", "List-Unsubscribe=One-Click")[0] == 200
    # Who opens a letter, has it, though the server's answer was lost.
    assert visit(lost.pixel()) == (200, None)
    report_again(stack, bounced)

    wanted = Counter(
        {
            bounce: 1,
            complaint: 1,
            (reader.contact, "open", False): 1,
            (reader.contact, "click", False): 1,
            (scanner.contact, "open", True): 1,
            (scanner.contact, "click", True): len(links),
            (leaver.contact, "unsubscribe", False): 1,
            (lost.contact, "open", False): 1,
        }
    )
    wait_for(page, campaign.events, wanted)
    read = "SELECT count(*) FROM returns_inboundmessage WHERE due_at IS NULL AND recipient = %s"
    wait_for(page, lambda: stack.sql(read, bounced.return_path), [(2,)])
    assert campaign.events() == wanted
    hidden = "kind = 'click' AND link = 0 AND campaign_id = %s"
    assert stack.sql(f"SELECT machine FROM tracking_event WHERE {hidden}", pk) == [("honeypot",)]
    failed = KINDS["full"] + KINDS["latebounce"]
    # A connection that broke in the middle of a letter may leave open what became of it.
    unknown = campaign.statuses().get("unknown", 0)
    assert unknown <= KINDS["drop"]
    sent = MAILED - failed - unknown
    assert campaign.statuses().get("sent") == sent
    assert campaign.statuses().get("failed") == failed
    people = stack.sql(
        "SELECT status FROM mailer_contact WHERE id = ANY(%s) ORDER BY status",
        [bounced.contact, complained.contact, leaver.contact, reader.contact],
    )
    assert [status for (status,) in people] == [
        "bounced",
        "complained",
        "subscribed",
        "unsubscribed",
    ]

    page.goto(f"{home}reports/{pk}/")
    figures = {"sent": sent, "opened": 2, "clicked": 1, "unsubscribed": 1,
               "complained": 1, "failed": failed}  # fmt: skip
    for name, number in figures.items():
        expect(page.locator(f"#figure-{name} .figure-value")).to_have_text(str(number))

    def cells(title: str, row: str) -> list[str]:
        table = page.locator(f"section[aria-labelledby={title}-title]")
        found = table.locator("tr").filter(has_text=row).locator("td").all_inner_texts()
        return [text.split()[0] for text in found if text.strip()]

    assert cells("raw", "Times, by people") == ["2", "1"]
    assert cells("raw", "Times, by machines") == ["1", str(len(links))]
    assert cells("raw", "Raw: all times") == ["3", str(1 + len(links))]
    assert cells("links", SHOP)[2:] == ["1", "100%", "1", "2"]
    accepted = [int(cells("variants", f"Variant {name}")[0]) for name in "AB"]
    assert sum(accepted) == sent
