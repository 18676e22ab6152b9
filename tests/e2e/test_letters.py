"""Letters made in a real browser: the builder, rich text, code, and a template in a campaign."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.test_main_job import sign_in
from tests.support.pictures import picture_file
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SAVED = re.compile("^Saved")


def begin(page: Page, stack: RunningStack, name: str) -> str:
    stack.manage("create_account", f"{name}@example.com", "--workspace", f"{name} shop")
    sign_in(page, f"{name}@example.com")
    expect(page).to_have_url(re.compile(rf"/w/{name}-shop/$"))
    return f"/w/{name}-shop/"


def drag(page: Page, block: Locator, target: Locator) -> None:
    """By the mouse, in steps: the builder looks for the place while the pointer moves."""
    start, end = block.bounding_box(), target.bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + 40, end["y"] - 30, steps=15)
    page.mouse.move(end["x"] + 40, end["y"] + 3, steps=5)
    page.mouse.up()


def stored(stack: RunningStack, table: str, slug: str) -> tuple[str, str]:
    [(design, html)] = stack.sql(
        f"SELECT design, html FROM {table} WHERE workspace_id = "
        "(SELECT id FROM accounts_workspace WHERE slug = %s)",
        slug,
    )
    return design, html


def test_build_a_letter_by_dragging(page: Page, stack: RunningStack) -> None:
    home = begin(page, stack, "dora")
    page.goto(f"{home}templates/new/")
    page.get_by_role("button", name="Begin with Welcome").click()
    page.get_by_role("button", name="Open the builder").click()
    expect(page.locator("body[data-ready]")).to_be_attached(timeout=30_000)
    letter = page.frame_locator(".gjs-frame")
    drag(page, page.locator(".gjs-block", has_text="Heading"), letter.get_by_text("We are glad"))
    heading = letter.get_by_text("Heading", exact=True)
    expect(heading).to_be_visible()
    heading.dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("Fish & <chips> for ")
    page.locator(".gjs-rte-toolbar select").last.select_option(label="Last name")
    page.get_by_role("link", name="Back").click()
    expect(page).to_have_url(re.compile(r"/templates/\d+/$"), timeout=30_000)

    design, html = stored(stack, "content_template", "dora-shop")
    for source in (design, html):
        assert "Fish &amp; &lt;chips&gt; for" in source, source
        assert "{{ last_name }}" in source, source
        assert '{{ first_name | default: "friend" }}' in source
    assert html.startswith("<!doctype html>")

    # Into a campaign, whose preview shows it.
    page.get_by_role("button", name="Use in a campaign").click()
    expect(page).to_have_url(re.compile(r"/campaigns/\d+/edit/$"))
    expect(page.frame_locator(".preview-frame").get_by_text("Fish & <chips>")).to_be_visible()
    assert stored(stack, "campaigns_campaign", "dora-shop") == (design, html)


def test_rich_text_saves_itself(page: Page, stack: RunningStack) -> None:
    home = begin(page, stack, "rita")
    page.goto(f"{home}templates/new/")
    page.locator("#id_name").fill("A note")
    page.locator("#id_editor").select_option("rich")
    page.get_by_role("button", name="Create").click()
    page.locator(".ql-editor").click()
    page.keyboard.type("Dear reader")
    page.keyboard.press("Control+A")
    page.locator(".ql-bold").click()
    page.keyboard.press("End")
    page.get_by_role("button", name="Insert field").click()
    page.get_by_role("button", name="Unsubscribe link").click()
    expect(page.locator("[data-save-state]")).to_have_text(SAVED, timeout=20_000)
    expect(page.frame_locator(".preview-frame").get_by_text("Dear reader")).to_be_visible()
    _design, html = stored(stack, "content_template", "rita-shop")
    assert "<strong>Dear reader" in html
    assert '<a href="{{ unsubscribe_url }}">Unsubscribe</a>' in html
    page.reload()
    expect(page.locator(".ql-editor strong")).to_have_text(re.compile("Dear reader"))


def test_code_with_a_fault_a_picture_and_a_second_tab(page: Page, stack: RunningStack) -> None:
    home = begin(page, stack, "cora")
    page.goto(f"{home}templates/new/")
    page.locator("#id_name").fill("Code")
    page.locator("#id_editor").select_option("mjml")
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".CodeMirror")).to_be_visible()
    faults = page.context.new_page()  # refusals are logged by the browser as errors
    faults.goto(page.url)
    faults.locator(".CodeMirror").click()
    faults.keyboard.press("Control+Home")
    faults.keyboard.insert_text("<mj-foo>\n")
    expect(faults.locator("[data-save-state]")).to_have_text(
        re.compile("Line 1: .*mj-foo"), timeout=20_000
    )
    faults.get_by_role("button", name="Undo").click()
    expect(faults.locator("[data-save-state]")).to_have_text(SAVED, timeout=20_000)

    # A picture from the library, put where the cursor is.
    faults.get_by_role("button", name="Picture").click()
    faults.locator("#picker-files").set_input_files(
        {"name": "logo.png", "mimeType": "image/png", "buffer": picture_file()}
    )
    faults.get_by_role("button", name="Upload", exact=True).click()
    faults.locator("[data-picture]").click()
    expect(faults.locator(".CodeMirror")).to_contain_text("<mj-image src=")
    faults.close(run_before_unload=False)

    # A tab that still has the version from before. Its refusal is logged by the browser too.
    late = page.context.new_page()
    late.goto(page.url)
    page.reload()
    page.locator("#id_name").fill("Code of the first tab")
    expect(page.locator("[data-save-state]")).to_have_text(SAVED, timeout=20_000)
    late.locator("#id_name").fill("Mine")
    expect(late.locator("[data-save-state]")).to_contain_text("another window", timeout=20_000)
    late.get_by_role("button", name="Save", exact=True).click()
    expect(late.get_by_role("alert")).to_contain_text("changed elsewhere")
    late.get_by_role("button", name="Save", exact=True).click()
    expect(late.locator("#messages")).to_contain_text("The template is saved")


def test_variant_b_is_made_in_the_builder_too(page: Page, stack: RunningStack) -> None:
    home = begin(page, stack, "bella")
    page.goto(f"{home}campaigns/new/")
    page.get_by_label("Name").fill("Spring")
    page.get_by_role("button", name="Write the letter").click()
    expect(page).to_have_url(re.compile(r"/campaigns/\d+/edit/$"))
    campaign = page.url.removesuffix("edit/")
    page.goto(f"{campaign}start-from/")
    page.get_by_role("button", name="Begin with Welcome").click()
    page.locator("#id_subject").fill("Spring is here")
    page.get_by_role("button", name="Save draft").click()

    page.locator("#variants").get_by_role("link", name="Set up a test").click()
    page.get_by_role("button", name="Add a variant").click()
    page.get_by_role("button", name="Copy the letter").click()
    page.get_by_role("button", name="Open the builder").click()
    expect(page.locator(".builder-title")).to_have_text("Spring: variant B")
    expect(page.locator("body[data-ready]")).to_be_attached(timeout=30_000)
    page.frame_locator(".gjs-frame").get_by_text("Welcome!").dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("Only in B")
    page.get_by_role("link", name="Back").click()
    expect(page).to_have_url(f"{campaign}variants/2/", timeout=30_000)
    preview = page.frame_locator(".preview-frame")
    expect(preview.get_by_text("Only in B")).to_be_visible()

    # Saved by itself, and seen by a contact whose name is in the subject.
    page.locator("#id_subject").fill("{{ first_name }}, look at this")
    expect(page.locator("[data-save-state]")).to_have_text(SAVED, timeout=20_000)
    expect(page.locator("#preview-subject")).to_contain_text("Anna, look at this")
    page.get_by_role("link", name="Variant A").click()
    expect(page).to_have_url(f"{campaign}edit/")
    expect(preview.get_by_text("We are glad")).to_be_visible()
    expect(preview.get_by_text("Only in B")).to_have_count(0)

    page.goto(f"{campaign}launch/")
    page.get_by_role("tab", name="Variant B").click()
    letter = page.locator("#letter-B").locator("iframe").content_frame
    expect(letter.get_by_text("Only in B")).to_be_visible()
