from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.support.stack import RunningStack

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


# What htmx says of a request that was under way when the page was left: failures have other names.
LEFT = ("htmx:sendAbort", "htmx:afterRequest")


# Not for the session: while Playwright runs, its event loop is this thread's, and neither
# asyncio.run nor the ORM works in the tests of other modules.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: `apt-get install chromium` lets this test run")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test of a page fails, its report says what the page showed."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and isinstance(page, Page):
        with contextlib.suppress(PlaywrightError):
            report.sections.append((f"{page.url} shows", page.inner_text("body")[:2000]))
    return report


@pytest.fixture
def page(browser: Browser, stack: RunningStack) -> Iterator[Page]:
    """A page that fails the test for an error in a script or a breach of the CSP."""
    context = browser.new_context(base_url=stack.address, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type == "error" and not message.text.startswith(LEFT)
            else None
        ),
    )
    yield page
    context.close()
    assert not faults, faults
