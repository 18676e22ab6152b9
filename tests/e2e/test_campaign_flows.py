"""Scheduling a campaign, and writing again to those who did not open it, in a real browser."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_main_job import sign_in
from tests.support.recipients import BROWSER
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

MAKE = """
from apps.accounts.models import Workspace
from tests.support import factories as make
workspace = Workspace.objects.get(slug="{slug}")
to = make.make_list(workspace, "Customers")
people = [make.make_contact(workspace, to=to) for _ in range(3)]
campaign = make.make_campaign(workspace, to, name="Autumn")
"""
SENT = """
from apps.campaigns import tokens
for person in people:
    make.make_delivery(campaign, person, status="sent")
campaign.state = "finished"
campaign.save()
print(campaign.pk, tokens.sign(tokens.Kind.OPEN, campaign.pk, people[0].pk))
"""


def made(stack: RunningStack, slug: str, then: str = "print(campaign.pk)") -> list[str]:
    printed = stack.manage("shell", "-v", "0", "-c", MAKE.format(slug=slug) + then)
    return printed.split()


def test_schedule(page: Page, stack: RunningStack) -> None:
    stack.manage("create_account", "lena@example.com", "--workspace", "Lena shop")
    [campaign] = made(stack, "lena-shop")
    sign_in(page, "lena@example.com")
    expect(page).to_have_url(re.compile(r"/w/lena-shop/$"))
    page.goto(f"/w/lena-shop/campaigns/{campaign}/launch/")
    expect(page.get_by_label("Date")).to_be_hidden()
    page.get_by_label("Schedule").check()
    expect(page.get_by_role("button", name="Launch to 3 contacts")).to_be_hidden()
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
    page.get_by_label("Date").fill(tomorrow)
    page.get_by_label("Time", exact=True).fill("10:00")
    page.get_by_role("button", name="Schedule for 3 contacts").click()
    expect(page.locator("#progress")).to_contain_text("Begins")

    # Think twice, and have it scheduled in the end.
    page.get_by_role("button", name="Make it a draft again").click()
    expect(page).to_have_url(re.compile(r"/edit/$"))
    page.get_by_role("button", name="Save and continue").click()
    page.get_by_label("Schedule").check()
    page.get_by_label("Date").fill(tomorrow)
    page.get_by_label("Time", exact=True).fill("10:00")
    page.get_by_role("button", name="Schedule for 3 contacts").click()
    expect(page.locator("#progress")).to_contain_text("Begins")
    stack.sql(
        "UPDATE campaigns_campaign SET scheduled_at = now() WHERE id = %s RETURNING 1", campaign
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        [(state, launched)] = stack.sql(
            "SELECT state, launched_at FROM campaigns_campaign WHERE id = %s", campaign
        )
        if state != "scheduled":
            break
        page.wait_for_timeout(500)
    assert launched is not None
    page.reload()
    expect(page.get_by_role("heading", name=re.compile("Progress|Report"))).to_be_visible()


def test_resend(page: Page, stack: RunningStack) -> None:
    stack.manage("create_account", "nina@example.com", "--workspace", "Nina shop")
    campaign, token = made(stack, "nina-shop", SENT)
    # What comes within seconds of the hand-over is a machine's.
    stack.sql(
        "UPDATE campaigns_delivery SET updated_at = updated_at - interval '1 hour' "
        "WHERE campaign_id = %s RETURNING 1",
        campaign,
    )
    seen = page.request.get(f"/o/{token}.gif", headers={"User-Agent": BROWSER})
    assert seen.status == 200
    opened = "SELECT 1 FROM campaigns_delivery WHERE campaign_id = %s AND opened_at IS NOT NULL"
    deadline = time.monotonic() + 60
    while not stack.sql(opened, campaign) and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    sign_in(page, "nina@example.com")
    expect(page).to_have_url(re.compile(r"/w/nina-shop/$"))
    page.goto(f"/w/nina-shop/campaigns/{campaign}/")
    expect(page.locator("#progress")).to_contain_text("2 letters were accepted and not opened")
    page.get_by_role("button", name="Resend to those who did not open").click()
    expect(page).to_have_url(re.compile(r"/edit/$"))
    expect(page.locator("#recipients")).to_contain_text("have not opened it")
    expect(page.locator("#audience")).to_contain_text("2 contacts get the letter")
    page.get_by_role("button", name="Save and continue").click()
    expect(page.get_by_role("button", name="Launch to 2 contacts")).to_be_visible()
