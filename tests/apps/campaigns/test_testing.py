from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User, Workspace
from apps.campaigns import tasks
from apps.campaigns.models import Campaign, TestSend
from apps.campaigns.services import testing
from core.errors import InvalidInput
from tests.support.factories import make_campaign, make_contact


@pytest.fixture
def draft(workspace: Workspace) -> Campaign:
    return make_campaign(workspace)


def test_a_test_letter_is_rung_for_after_the_commit(
    draft: Campaign,
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    rung: list[dict[str, int]] = []
    monkeypatch.setattr(tasks.send_single_email, "delay", lambda **ids: rung.append(ids))
    with django_capture_on_commit_callbacks(execute=True):
        test = testing.send_test(campaign=draft, to=" Anna <ANNA@x.test> ", by=owner)
        assert rung == []
    assert (test.to, test.state, test.created_by) == ("anna@x.test", "queued", owner)
    assert rung == [{"test_send_id": test.pk}]


@pytest.mark.parametrize(
    "to", ["", "nobody", "a@b.test, c@d.test", "a@b.test\r\nBcc: c@d.test", "a@b.test\0"]
)
def test_one_address_at_a_time(draft: Campaign, to: str) -> None:
    with pytest.raises(InvalidInput):
        testing.send_test(campaign=draft, to=to, by=None)
    assert not TestSend.objects.exists()


@pytest.mark.parametrize("content", [{"from_email": ""}, {"html": "{% if %}"}, {"subject": "{{"}])
def test_what_cannot_be_made_is_refused_at_once(
    workspace: Workspace, content: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput):
        testing.send_test(campaign=make_campaign(workspace, **content), to="a@b.test", by=None)
    assert not TestSend.objects.exists()


def test_preview_is_of_the_contact(draft: Campaign) -> None:
    contact = make_contact(draft.workspace, first_name="Olga")
    assert testing.preview(campaign=draft, contact=contact).subject == "News for Olga"
    assert testing.preview(campaign=draft).subject == "News for Anna"
