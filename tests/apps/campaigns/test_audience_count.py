"""The count of an audience beside the editor: within the limits that all counts have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import User, Workspace
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
