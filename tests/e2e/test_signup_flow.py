"""A sign-up form from its making to a subscriber who then asks for fewer letters."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_main_job import sign_in
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_visitor_subscribes_by_a_form(page: Page, stack: RunningStack) -> None:
    stack.manage("create_account", "sonja@example.com", "--workspace", "Sonja shop")
    sign_in(page, "sonja@example.com")
    expect(page).to_have_url(re.compile(r"/w/sonja-shop/$"))
    page.goto("/w/sonja-shop/audience/forms/")
    page.get_by_role("link", name="New list").click()
    page.get_by_label("Name").fill("News")
    page.get_by_role("button", name="Create the list").click()
    page.goto("/w/sonja-shop/audience/forms/")
    page.get_by_role("link", name="Make a form").click()
    page.get_by_label("Name").first.fill("Footer")
    page.get_by_label("News").check()
    page.get_by_label("First name").check()
    page.get_by_label("Sender address").fill("news@inbox.sandbox.test")
    page.get_by_role("button", name="Make the form").click()
    url = page.locator("#form-url").input_value()
    path = "/" + url.partition("//")[2].partition("/")[2]

    # As a visitor, by the keyboard alone.
    context = page.context
    context.clear_cookies()
    page.goto(path)
    page.get_by_label("Email").focus()
    page.keyboard.type("visitor@inbox.sandbox.test")
    page.keyboard.press("Tab")
    page.keyboard.type("Vera")
    page.keyboard.press("Tab")  # the trap is skipped
    page.keyboard.press("Space")
    page.wait_for_timeout(2_500)  # a person's time: faster forms are shown once more
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Please look into your mailbox")
    assert not context.cookies()

    find = (
        "SELECT key FROM mailer_signup WHERE email = 'visitor@inbox.sandbox.test' AND mail = 'sent'"
    )
    sign_in(page, "sonja@example.com")
    expect(page).to_have_url(re.compile(r"/w/sonja-shop/$"))
    page.goto("/w/sonja-shop/sandbox/")
    letter = page.get_by_role("link", name=re.compile("Please confirm"))
    expect(letter).to_be_visible()  # the page asks for new messages by itself
    letter.click()
    inside = page.frame_locator("iframe").get_by_role("link", name="Confirm my subscription")
    address = inside.get_attribute("href")
    assert address is not None
    [(key,)] = stack.sql(find)
    assert address.endswith(key)

    context.clear_cookies()
    page.goto(address)
    page.get_by_role("button", name="Confirm my subscription").click()
    expect(page.locator("h1")).to_have_text("Your subscription is confirmed")
    row = stack.sql(
        "SELECT status, first_name FROM mailer_contact WHERE email = 'visitor@inbox.sandbox.test'"
    )
    assert row == [("subscribed", "Vera")]
