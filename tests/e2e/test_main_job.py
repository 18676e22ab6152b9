"""What a marketer does, from the file to the letter in the inbox, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import PASSWORD, RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CONTACTS = """Почта;Имя;Город;Скидка
anna.petrova@vega.inbox.sandbox.test;Анна;Казань;10 %
oleg@vega.inbox.sandbox.test;Олег;Пермь;15 %
ANNA.petrova@vega.inbox.sandbox.test;Анна;Казань;10 %
ivan@iskra.inbox.sandbox.test;Иван;;5 %
nosuch@vega.inbox.sandbox.test;Никто;Омск;
anyone@catchall.sandbox.test;Вера;Сочи;
no address here;Пусто;Омск;
maria@inbox.sandbox.test;Мария
"""


def sign_in(page: Page, email: str) -> None:
    page.goto("/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_from_the_file_to_the_inbox(page: Page, stack: RunningStack, tmp_path: Path) -> None:
    stack.manage("create_account", "masha@example.com", "--workspace", "Masha shop")
    file = tmp_path / "клиенты.csv"
    file.write_bytes(CONTACTS.encode("cp1251"))
    sign_in(page, "masha@example.com")
    expect(page).to_have_url(re.compile(r"/w/masha-shop/$"))

    # Upload, map, watch it import.
    page.goto("/w/masha-shop/audience/imports/new/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name=re.compile("Upload")).click()
    expect(page).to_have_url(re.compile(r"/columns/$"))
    targets = page.locator("#mapping select[name^=target_]")
    expect(targets).to_have_count(4)
    assert targets.nth(0).input_value() == "email"
    assert targets.nth(1).input_value() == "first_name"
    page.locator("#id_list").select_option("+")
    page.locator("#id_new_list").fill("Autumn customers")
    page.get_by_role("button", name="Start the import").click()
    expect(page.get_by_text("Finished").first).to_be_visible()
    [counted] = stack.sql(
        "SELECT created, duplicate, rejected, checkpoint FROM mailer_import "
        "ORDER BY id DESC LIMIT 1"
    )
    assert counted == (5, 1, 2, 8)
    expect(page.locator("main")).to_contain_text("no address here")
    page.wait_for_function(
        "() => !document.querySelector('[hx-trigger^=\"every\"]')"
    )  # the page stops asking once the checks are done
    # Other tests have contacts in the same service.
    ours = "workspace_id = (SELECT id FROM accounts_workspace WHERE slug = 'masha-shop')"
    verdicts = dict(
        stack.sql(f"SELECT verdict, count(*) FROM mailer_contact WHERE {ours} GROUP BY verdict")
    )
    assert verdicts == {"valid": 3, "invalid": 1, "risky": 1}

    # Write a campaign.
    page.goto("/w/masha-shop/campaigns/")
    page.get_by_role("link", name=re.compile("New campaign|Create")).first.click()
    page.get_by_label("Name").fill("Autumn")
    page.get_by_role("button", name=re.compile("Create|Continue|Write")).click()
    expect(page).to_have_url(re.compile(r"/edit/$"))
    page.locator("#id_subject").fill("{{ first_name }}, ваша скидка")
    page.locator("#id_from_name").fill("Маша")
    page.locator("#id_from_email").fill("masha@inbox.sandbox.test")
    page.locator("#id_lists_0").check()
    page.locator(".CodeMirror").click()
    page.keyboard.insert_text("<h1>{{ first_name }}</h1><p>Скидка {{ skidka }}</p>")
    expect(page.locator("#audience")).to_contain_text("3")
    page.get_by_role("button", name=re.compile("^Save")).first.click()
    expect(page.locator("#messages")).to_contain_text(re.compile("saved", re.IGNORECASE))

    # Send a test and see the server's answer.
    page.get_by_role("button", name="Save and test").click()
    page.locator("#id_to").fill("me@inbox.sandbox.test")
    page.get_by_role("button", name="Send the test").click()
    expect(page.locator("main")).to_contain_text("Accepted by the")

    # Launch, once, and see the report.
    page.get_by_role("link", name="Continue to launch").click()
    expect(page.locator("main")).to_contain_text("ваша скидка")
    page.get_by_role("button", name="Launch to 3 contacts").click()
    expect(page.locator("main")).to_contain_text(re.compile("Finished"), timeout=60_000)
    assert stack.sql(
        "SELECT status, count(*) FROM campaigns_delivery WHERE campaign_id IN "
        f"(SELECT id FROM campaigns_campaign WHERE {ours}) GROUP BY status"
    ) == [("sent", 3)]

    # Read the letter in the sandbox.
    page.goto("/w/masha-shop/sandbox/")
    page.get_by_role("link", name=re.compile("Анна, ваша скидка")).click()
    letter = page.frame_locator("iframe")
    expect(letter.locator("h1")).to_have_text("Анна")
    expect(letter.locator("p").first).to_have_text("Скидка 10 %")
    link = letter.get_by_role("link", name=re.compile("Unsubscribe|Отписаться"))
    address = link.get_attribute("href")
    assert address is not None
    page.get_by_role("tab", name="Source").click()
    expect(page.locator("main")).to_contain_text(
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
    )

    # Say no, as the recipient, in a browser without a session.
    page.context.clear_cookies()
    page.goto(address)
    status = f"SELECT status FROM mailer_contact WHERE {ours} AND email LIKE 'anna%%'"
    assert stack.sql(status) == [("subscribed",)]
    page.get_by_role("button", name=re.compile("Unsubscribe")).click()
    expect(page.locator("main")).to_contain_text(re.compile("unsubscribed", re.IGNORECASE))
    assert stack.sql(status) == [("unsubscribed",)]


def test_a_file_that_is_not_what_it_claims(page: Page, stack: RunningStack, tmp_path: Path) -> None:
    stack.manage("create_account", "petr@example.com", "--workspace", "Petr shop")
    file = tmp_path / "contacts.csv"
    file.write_bytes(b"%PDF-1.7\n\x00\x01\x02" * 100)
    sign_in(page, "petr@example.com")
    page.goto("/w/petr-shop/audience/imports/new/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name=re.compile("Upload")).click()
    expect(page.locator("main")).to_contain_text("pdf")
    [(number,)] = stack.sql(
        "SELECT count(*) FROM mailer_import i JOIN accounts_workspace w ON w.id = i.workspace_id "
        "WHERE w.slug = 'petr-shop'"
    )
    assert number == 0
