"""Files of two kinds, from the upload to the report and a segment, in a real browser."""

from __future__ import annotations

import io
import re
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_main_job import sign_in
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CUSTOMERS = """Почта;Имя;Сумма;Дата;Размер
anna@inbox.sandbox.test;Анна;1 200,50;31.01.2026;M
oleg@inbox.sandbox.test;Олег;много;01.02.2026;L
no address;Пусто;1;;M
ANNA@inbox.sandbox.test;Анна;7;;M
"""


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (("E-mail", "First name"), ("anna@inbox.sandbox.test", "Other"),
                ("vera@inbox.sandbox.test", "Вера")):  # fmt: skip
        sheet.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def send(page: Page, file: Path) -> None:
    page.goto("/w/ira-shop/audience/imports/new/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name=re.compile("Upload")).click()
    expect(page).to_have_url(re.compile(r"/columns/"))


def finish(page: Page) -> None:
    page.get_by_role("button", name="Start the import").click()
    expect(page.get_by_text("Finished").first).to_be_visible()


def test_a_cp1251_file_and_a_workbook(page: Page, stack: RunningStack, tmp_path: Path) -> None:
    stack.manage("create_account", "ira@example.com", "--workspace", "Ira shop")
    sign_in(page, "ira@example.com")
    customers = tmp_path / "клиенты.csv"
    customers.write_bytes(CUSTOMERS.encode("cp1251"))
    send(page, customers)
    expect(page.locator("#sample tbody tr")).to_have_count(4)
    assert page.locator("#id_kind_3").input_value() == "date"
    page.locator("#id_kind_2").select_option("number")
    page.locator("#id_kind_4").select_option("choice")
    page.locator("#id_choices_4").fill("M, L")
    page.locator("#id_new_list").fill("Customers")
    page.locator("#id_tags").fill("autumn, VIP")
    page.locator("input[name=level][value=quick]").check()
    finish(page)
    ours = "workspace_id = (SELECT id FROM accounts_workspace WHERE slug = 'ira-shop')"
    counted = f"SELECT created, updated, unchanged, duplicate, rejected FROM mailer_import WHERE {ours} ORDER BY id DESC LIMIT 1"  # noqa: E501
    assert stack.sql(counted) == [(2, 0, 0, 1, 1)]
    expect(page.locator("#unfit")).to_contain_text("много")
    expect(page.locator("#rejected")).to_contain_text("no address")
    kept = dict(stack.sql(f"SELECT email, fields FROM mailer_contact WHERE {ours}"))
    assert kept["anna@inbox.sandbox.test"]["data"] == "2026-01-31"
    assert kept["anna@inbox.sandbox.test"]["razmer"] == "M"
    assert "summa" not in kept["oleg@inbox.sandbox.test"]
    with page.expect_download() as download:
        page.locator("#rejected-csv").click()
    rejected = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert "no address,Пусто,1,,M" in rejected

    # Known contacts keep what they have; the mapping comes back for the same headers.
    book = tmp_path / "more.xlsx"
    book.write_bytes(workbook())
    send(page, book)
    page.locator("#id_list").select_option(label="Customers")
    page.locator("input[name=policy][value=keep]").check()
    page.locator("input[name=level][value=quick]").check()
    finish(page)
    assert stack.sql(counted) == [(1, 0, 1, 0, 0)]
    send(page, customers)
    expect(page.locator("#remembered")).to_be_visible()
    assert page.locator("#id_target_2").input_value() == "summa"

    # A segment of one contact that the first file has brought and one of the second.
    page.goto("/w/ira-shop/audience/segments/new/")
    page.get_by_label("Name").fill("Wear M or unknown")
    condition = page.locator("[data-condition]")
    condition.first.get_by_label("What the condition is about").select_option(label="Размер")
    condition.first.get_by_label("M", exact=True).check()
    count = page.locator("#segment-count [data-count]")
    expect(count).to_have_text("1")
    page.get_by_label("How the conditions of this group combine").first.select_option("any")
    page.get_by_role("button", name="Condition", exact=True).first.click()
    expect(condition).to_have_count(2)
    second = condition.nth(1)
    second.get_by_label("What the condition is about").select_option(label="First name")
    expect(second.get_by_label("How it compares")).to_have_value("is")
    second.get_by_label("Value").fill("Вера")
    expect(count).to_have_text("2")
    page.get_by_role("button", name="Save the segment").click()
    expect(page.get_by_text("The segment is saved.")).to_be_visible()
    page.get_by_role("link", name="Wear M or unknown", exact=True).click()
    expect(page.locator("#segment-count [data-count]")).to_have_text("2")
