"""Notices of providers, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.webhooks.payloads import read

PROVIDERS = ("ses", "mailgun", "sendgrid", "postmark", "brevo", "unisender")


@pytest.mark.parametrize("headers", [0, 200])
def test_amazon_repeats_the_letters_headers_if_it_is_told_to(headers: int) -> None:
    """Then its notice is many times as long as one without them."""
    event = {
        "notificationType": "Bounce",
        "mail": {
            "source": "b+00@returns.example.com",
            "headers": [{"name": f"X-{n}", "value": "x" * 60} for n in range(headers)],
            "commonHeaders": {"messageId": "<1.2.abc@example.com>"},
        },
        "bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "NoEmail",
            "feedbackId": "0001",
            "bouncedRecipients": [{"emailAddress": "a@example.net", "status": "5.1.1"}],
        },
    }
    body = json.dumps({"Type": "Notification", "Message": json.dumps(event)}).encode()
    (notice,) = read("ses", body)
    assert notice.report.recipient == "a@example.net"
    assert notice.report.hard


_NAMES = (
    *("event-data", "event", "Message", "mail", "bounce", "bouncedRecipients", "RecordType"),
    *("events_by_user", "events", "event_data", "status", "email", "message", "headers"),
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inside, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from(PROVIDERS), _JSON, st.booleans())
def test_nothing_raises(provider: str, value: Any, inside: bool) -> None:
    value = {"Message": json.dumps(value)} if inside else value
    assert isinstance(read(provider, json.dumps(value).encode()), list)


@given(st.sampled_from(PROVIDERS), st.binary(max_size=60))
def test_what_is_no_json_says_nothing(provider: str, body: bytes) -> None:
    read(provider, body)
