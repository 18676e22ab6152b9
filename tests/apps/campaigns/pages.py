"""The pages of a campaign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from apps.accounts.models import User
from apps.campaigns.models import Campaign

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/campaigns/"
State = Campaign.State


def url(campaign: Campaign, page: str = "") -> str:
    return f"{PAGE}{campaign.pk}/{page}"


def conflict(client: Client, path: str, data: dict[str, Any] | None = None) -> bool:
    """Whether a POST is refused because of the campaign's state."""
    response = client.post(path, data or {}, headers={"accept": "application/json"})
    return response.status_code == 409 and response.json()["error"]["code"] == "conflict"
