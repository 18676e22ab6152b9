#!/usr/bin/env python3
"""Take the pictures in docs/images from a running `make up`: `screenshot.py`.

Starts nothing itself: signs in as the demo's person with the system's Chromium.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402 (needs the path)

from core.local import runtime  # noqa: E402
from core.local.stack import Stack  # noqa: E402

IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WORKSPACE = "demo"
WIDE, NARROW = (1440, 900), (390, 844)


def main() -> None:
    stack = Stack()
    if not stack.is_running():
        sys.exit("Nothing is running: start `make up` in another terminal first.")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit("No Chromium found: `apt-get install chromium` brings one.")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work as root.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        take_all(browser, stack.address)
        browser.close()


def take_all(browser: Browser, address: str) -> None:
    home = f"{address}/w/{WORKSPACE}/"
    page = signed_in(browser, address, WIDE)
    take(page, home, "dashboard")
    page.goto(f"{home}campaigns/")
    campaign = page.locator("a[href*='/campaigns/']").filter(has_text="Autumn catalogue").first
    take(page, address + str(campaign.get_attribute("href")), "campaign")
    take(page, f"{home}audience/", "contacts")
    take(page, f"{home}sandbox/", "sandbox")
    take(signed_in(browser, address, NARROW), home, "dashboard-narrow")


def signed_in(browser: Browser, address: str, size: tuple[int, int]) -> Page:
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height}, locale="en-GB", color_scheme="light"
    )
    page.goto(f"{address}/accounts/login/")
    page.fill("input[name=login]", "demo@sandbox.test")
    page.fill("input[name=password]", runtime.load().demo_password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/w/**")
    return page


def take(page: Page, url: str, name: str) -> None:
    # Parts that a page fetches after it has loaded belong to the picture.
    page.goto(url, wait_until="networkidle")
    page.evaluate("document.fonts.ready")
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
