from __future__ import annotations

import base64
import string

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import strategies as st

from apps.campaigns.tokens import (
    MOST_LINKS,
    Kind,
    LetterTokens,
    read,
    sign,
)

IDS = st.integers(1, 2**63 - 1)
READ = (Kind.UNSUBSCRIBE, Kind.OPEN, Kind.CLICK)
KINDS = st.sampled_from(READ)
URL_SAFE = string.ascii_letters + string.digits + "-_"


def token_of(kind: Kind, campaign: int = 3, contact: int = 4, link: int = 9) -> str:
    return sign(kind, campaign, contact, link if kind == Kind.CLICK else 0)


@given(KINDS, IDS, IDS, st.integers(1, MOST_LINKS))
def test_tokens_read_back(kind: Kind, campaign: int, contact: int, link: int) -> None:
    token = token_of(kind, campaign, contact, link)
    assert len(token) <= 45
    assert set(token) <= set(URL_SAFE + ".")
    assert read(kind, token) == (campaign, contact, link if kind == Kind.CLICK else 0)


@given(IDS, IDS, st.integers(0, 40))
def test_a_letters_tokens_are_those_signed_one_by_one(
    campaign: int, contact: int, links: int
) -> None:
    tokens = LetterTokens(campaign, contact, links)
    assert tokens.of(Kind.UNSUBSCRIBE) == sign(Kind.UNSUBSCRIBE, campaign, contact)
    assert tokens.of(Kind.OPEN) == sign(Kind.OPEN, campaign, contact)
    for number in range(1, links + 1):
        assert tokens.link(number) == sign(Kind.CLICK, campaign, contact, number)
    macs = [tokens.mac(kind) for kind in Kind if kind != Kind.CLICK]
    macs += [tokens.link(number).rpartition(".")[2] for number in range(1, links + 1)]
    assert len(set(macs)) == len(macs)
    assert all(len(mac) == 16 for mac in macs)


@given(IDS, IDS, st.integers(1, MOST_LINKS))
def test_kinds_do_not_mix(campaign: int, contact: int, link: int) -> None:
    for kind in READ:
        token = token_of(kind, campaign, contact, link)
        assert [other for other in READ if read(other, token)] == [kind]
    # Not by writing one in the form of another either.
    ids, mac = sign(Kind.UNSUBSCRIBE, campaign, contact).split(".")
    assert read(Kind.OPEN, f"{ids}.{mac}") is None
    assert read(Kind.CLICK, f"{ids}.{link}.{mac}") is None
    ids, _, mac = sign(Kind.CLICK, campaign, contact, link).split(".")
    assert read(Kind.UNSUBSCRIBE, f"{ids}.{mac}") is None
    assert read(Kind.OPEN, f"{ids}.{mac}") is None
    assert read(Kind.CLICK, f"{ids}.{link + 1}.{mac}") is None


def test_a_message_id_gives_no_token_away() -> None:
    """Everybody who sees a letter's headers knows that part of the digest."""
    tokens = LetterTokens(3, 4, 2)
    ids = tokens.of(Kind.UNSUBSCRIBE).partition(".")[0]
    mac = tokens.mac(Kind.MESSAGE_ID)
    assert read(Kind.UNSUBSCRIBE, f"{ids}.{mac}") is None
    assert read(Kind.OPEN, f"{ids}.{mac}") is None
    for number in range(3):
        assert read(Kind.CLICK, f"{ids}.{number}.{mac}") is None


def test_links_are_numbered_within_bounds() -> None:
    for link in (0, 1, MOST_LINKS):
        assert read(Kind.CLICK, sign(Kind.CLICK, 3, 4, link)) == (3, 4, link)
    assert read(Kind.CLICK, sign(Kind.CLICK, 3, 4, MOST_LINKS + 1)) is None


@given(KINDS, st.text())
def test_other_text_is_no_token(kind: Kind, text: str) -> None:
    assert read(kind, text) is None


@given(KINDS, st.from_regex(r"[\w-]{2,23}(\.[0-9]{1,5})?\.[\w-]{16}", fullmatch=True))
def test_what_looks_like_a_token_is_none(kind: Kind, text: str) -> None:
    assert read(kind, text) is None


@given(KINDS, st.integers(0, 60), st.characters(codec="utf-8"), IDS)
def test_a_changed_token_is_none_of_ours(
    kind: Kind, position: int, character: str, contact: int
) -> None:
    token = token_of(kind, contact=contact)
    position %= len(token)
    other = token[:position] + character + token[position + 1 :]
    assert (read(kind, other) is not None) is (other == token)


@pytest.mark.parametrize("kind", READ)
def test_a_truncated_token_is_none_of_ours(kind: Kind) -> None:
    token = token_of(kind)
    for length in range(len(token)):
        assert read(kind, token[:length]) is None
        assert read(kind, token[length + 1 :]) is None
    assert read(kind, token + "A") is None
    assert read(kind, token * 2) is None


@pytest.mark.parametrize("kind", READ)
def test_another_spelling_of_a_token_is_none_of_ours(kind: Kind) -> None:
    """What is the same in sloppy base64 or as a number would count twice elsewhere."""
    ids, *number, mac = token_of(kind, 3, 4).split(".")
    link = number[0] if number else ""
    middle = f".{link}." if link else "."
    packed = base64.urlsafe_b64decode(ids + "=" * (-len(ids) % 4))
    longer = bytes([0x21]) + b"\0" + packed[1:]  # the same ids, with a leading zero
    others = [
        f"{ids}={middle}{mac}",
        f"{ids}=={middle}{mac}",
        f" {ids}{middle}{mac}",
        f"{ids}{middle}{mac} ",
        f"{ids}{middle}{mac}\n",
        f"{ids}!{middle}{mac}",
        f"{ids}{middle}{mac}.",
        f".{ids}{middle}{mac}",
        f"{ids}.{middle}{mac}",
        f"{base64.urlsafe_b64encode(longer).rstrip(b'=').decode()}{middle}{mac}",
    ]
    last = URL_SAFE.index(ids[-1])
    others += [f"{ids[:-1]}{URL_SAFE[last ^ bit]}{middle}{mac}" for bit in (1, 2)]
    if link:
        others += [f"{ids}.0{link}.{mac}", f"{ids}.+{link}.{mac}", f"{ids}. {link}.{mac}"]
        others += [f"{ids}.{link}_0.{mac}", f"{ids}.\u0669.{mac}", f"{ids}.{mac}"]
    assert read(kind, f"{ids}{middle}{mac}")
    for other in others:
        assert read(kind, other) is None, other


def test_tokens_are_bound_to_the_secret(settings: LazySettings) -> None:
    token = sign(Kind.OPEN, 3, 4)
    settings.SECRET_KEY = "another" * 10
    assert read(Kind.OPEN, token) is None
    assert sign(Kind.OPEN, 3, 4) != token
