"""A file on its way from the editor to an inbox, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.e2e.test_campaign_flows import made
from tests.e2e.test_main_job import sign_in
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
FILES: list[FilePayload] = [
    {"name": "Прайс.pdf", "mimeType": "application/pdf", "buffer": b"%PDF" + b"x" * 999},
    {"name": "wrong.csv", "mimeType": "text/csv", "buffer": b"1,2"},
]
SAVED = re.compile("^Saved")


def test_attach_remove_and_send(page: Page, stack: RunningStack) -> None:
    stack.manage("create_account", "fedor@example.com", "--workspace", "Fedor shop")
    [campaign] = made(stack, "fedor-shop")
    sign_in(page, "fedor@example.com")
    expect(page).to_have_url(re.compile(r"/w/fedor-shop/$"))
    page.goto(f"/w/fedor-shop/campaigns/{campaign}/edit/")
    part, state = page.locator("#attachments"), page.locator("[data-save-state]")

    # While the page saves by itself: neither gets into the other's way.
    page.locator("#id_subject").fill("Prices")
    page.locator("#attachment-files").set_input_files(FILES)
    expect(part.get_by_role("link")).to_have_text(["Прайс.pdf", "wrong.csv"])
    expect(page.locator("#preview-subject")).to_contain_text("wrong.csv")
    expect(state).to_have_text(SAVED)
    page.locator("#id_subject").fill("Prices of spring")
    expect(state).not_to_have_text(SAVED)
    expect(state).to_have_text(SAVED)

    page.once("dialog", lambda dialog: dialog.accept())
    part.get_by_role("button", name="Remove wrong.csv").focus()
    page.keyboard.press("Enter")
    expect(part.get_by_role("link")).to_have_text(["Прайс.pdf"])

    page.get_by_role("button", name="Save and test").click()
    page.locator("#id_to").fill("me@inbox.sandbox.test")
    page.get_by_role("button", name="Send the test").click()
    expect(page.locator("main")).to_contain_text("Accepted by the")
    page.goto("/w/fedor-shop/sandbox/")
    page.get_by_role("link", name=re.compile("Prices of spring")).click()
    page.get_by_role("tab", name="Attachments").click()
    expect(page.locator("#attachments")).to_contain_text("Прайс.pdf")
