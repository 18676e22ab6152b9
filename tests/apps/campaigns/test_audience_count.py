"""The count of an audience beside the editor: within the limits that all counts have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import User, Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.campaigns.views import campaigns as views
from apps.mailer.models import ContactList
from apps.mailer.segments import turns
from tests.support.factories import make_campaign, make_contact, make_list

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/campaigns/audience/"


@pytest.fixture
def news(workspace: Workspace) -> ContactList:
    news = make_list(workspace)
    make_contact(workspace, "anna@inbox.sandbox.test", to=news)
    return news


def chosen(news: ContactList) -> dict[str, str]:
    return {"lists": str(news.pk), "include_verdicts": "valid", "editor": "1"}


@contextmanager
def contacts_locked() -> Iterator[None]:
    """Whoever reads contacts waits."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        other.cursor().execute("LOCK TABLE mailer_contact IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        other.rollback()
        other.close()


@pytest.mark.django_db(transaction=True)
def test_a_count_that_takes_too_long_ends(
    owner: User, client_of: ClientOf, news: ContactList, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(owner)
    campaign = make_campaign(news.workspace, news, state=Campaign.State.FINISHED)
    pages = [PAGE, f"/w/shop/campaigns/{campaign.pk}/left-out/"]
    with contacts_locked(), monkeypatch.context() as patch:
        patch.setattr(views, "COUNT_SECONDS", 0.2)
        for page in pages:
            answer = client.get(page, chosen(news))
            assert answer.status_code == 200, page
            assert "takes too long" in answer.content.decode(), page
            assert "HX-Trigger" not in answer
    for page in pages:
        assert "takes too long" not in client.get(page, chosen(news)).content.decode()
    assert client.get(PAGE, chosen(news)).context["audience"].sendable == 1


@pytest.mark.django_db
def test_audience_counts_leave_threads_for_pages(
    owner: User, client_of: ClientOf, news: ContactList
) -> None:
    client = client_of(owner)
    with ExitStack() as taken:
        for _ in range(turns.AT_ONCE):
            taken.enter_context(turns.slot())
        waiting = client.get(PAGE, chosen(news))
        assert waiting["HX-Trigger"] == "count-again"
        assert "comes next" in waiting.content.decode()
    counted = client.get(PAGE, chosen(news))
    assert "HX-Trigger" not in counted
    assert counted.context["audience"].sendable == 1


def test_the_launch_page_goes_through_the_audience_once(
    owner: User, client_of: ClientOf, news: ContactList
) -> None:
    for email in ("bo@gmail.com", "cy@gmail.com", "di@mail.ru"):
        make_contact(news.workspace, email, to=news, verdict="valid", reason="role")
    make_contact(news.workspace, "ed@gmail.com", to=news, status="unsubscribed")
    make_contact(news.workspace, "flo@gmail.com", to=news, verdict="risky", reason="catch_all")
    draft = make_campaign(news.workspace, news)
    with CaptureQueriesContext(connection) as asked:
        page = client_of(owner).get(f"/w/shop/campaigns/{draft.pk}/launch/")
    counts = [one["sql"] for one in asked if "count(*)" in one["sql"]]
    assert len([sql for sql in counts if "mailer_contact" in sql]) == 1
    found = page.context["audience"]
    assert (found.sendable, found.left_out) == (4, {"unsubscribed": 1, "risky": 1})
    assert found == selectors.audience(
        news.workspace, list_ids=[news.pk], verdicts=draft.include_verdicts
    )
    assert page.context["gate"].forecast.letters == 4
    reach = selectors.reach(draft)
    assert reach.by_provider == {"gmail": 2, "mailru": 1, "other": 1}
    assert reach.findings == {("valid", "role"): 3, ("valid", "mailbox_exists"): 1}
