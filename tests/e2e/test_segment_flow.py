"""Building a segment in a real browser, and sending a campaign to it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_main_job import sign_in
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

MAKE = """
from apps.accounts.models import Workspace
from apps.mailer.models import ContactField
from tests.support import factories as make
workspace = Workspace.objects.get(slug="vera-shop")
ContactField.objects.create(workspace=workspace, key="city", label="City")
ContactField.objects.create(workspace=workspace, key="points", label="Points", kind="number")
to = make.make_list(workspace, "Customers")
for city, points in [("Riga", "5"), ("Riga", "70"), ("Porto", "80"), ("Cork", "90")]:
    make.make_contact(workspace, to=to, fields={"city": city, "points": points})
campaign = make.make_campaign(workspace, name="Autumn")
print(campaign.pk)
"""


def test_a_segment_with_a_nested_group(page: Page, stack: RunningStack) -> None:
    stack.manage("create_account", "vera@example.com", "--workspace", "Vera shop")
    campaign = stack.manage("shell", "-v", "0", "-c", MAKE).strip()
    sign_in(page, "vera@example.com")
    expect(page).to_have_url(re.compile(r"/w/vera-shop/$"))
    page.get_by_role("link", name="Segments").click()
    page.get_by_role("link", name="Make a segment").click()
    count = page.locator("#segment-count")
    expect(count).to_contain_text("say what to compare with")

    # Everybody with more than 10 points …
    page.get_by_label("Name").fill("Good customers")
    condition = page.locator("[data-condition]")
    condition.first.get_by_label("What the condition is about").select_option(label="Points")
    condition.first.get_by_label("How it compares").select_option(label="is more than")
    condition.first.get_by_label("Value").fill("10")
    expect(count.locator("[data-count]")).to_have_text("3")

    # … who is in Riga or Porto.
    page.get_by_role("button", name="Group").click()
    inner = page.locator("[data-group] [data-group]")
    inner.get_by_label("How the conditions of this group combine").select_option("any")
    inner.get_by_role("button", name="Condition", exact=True).click()
    expect(condition).to_have_count(3)
    for number, city in enumerate(["riga", "Porto"]):
        one = inner.locator("[data-condition]").nth(number)
        one.get_by_label("What the condition is about").select_option(label="City")
        expect(one.get_by_label("How it compares")).to_have_value("is")
        one.get_by_label("Value").fill(city)
    expect(count.locator("[data-count]")).to_have_text("2")
    expect(count.get_by_role("link")).to_have_count(2)

    # By keyboard and on a phone.
    page.set_viewport_size({"width": 390, "height": 844})
    inner.get_by_role("button", name="Remove this condition").nth(1).press("Enter")
    expect(count.locator("[data-count]")).to_have_text("1")
    width = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(width)
    page.get_by_role("button", name="Save the segment").click()
    expect(page.get_by_text("The segment is saved.")).to_be_visible()

    # Its conditions are there again, and a campaign can go to it.
    page.get_by_role("link", name="Good customers", exact=True).click()
    expect(page.locator("[data-condition]")).to_have_count(2)
    expect(page.locator("#segment-count [data-count]")).to_have_text("1")
    page.goto(f"/w/vera-shop/campaigns/{campaign}/edit/")
    page.locator("#recipients").get_by_label("Good customers").first.check()
    expect(page.locator("#audience")).to_contain_text("1 contact gets the letter")
