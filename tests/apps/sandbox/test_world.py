from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.sandbox.world import (
    BEHAVIOURS,
    INBOX,
    NO_SUCH,
    NXDOMAIN,
    OUTSIDE,
    Behaviour,
    Smtp,
    domain_behaviour,
    is_mail_host,
    looks_random,
    mail_hosts,
    markdown_table,
    recipient_behaviour,
)

PAGE = Path(__file__).parents[3] / "docs" / "sandbox.md"


def test_page_has_exactly_the_rows_of_the_code() -> None:
    header, *rows = markdown_table()
    lines = PAGE.read_text().splitlines()
    start = lines.index(header)
    table = lines[start + 1 : lines.index("", start)]
    assert table == rows


def test_page_names_exactly_the_domains_with_mailboxes() -> None:
    text = PAGE.read_text()
    (listed,) = re.findall(r"domains that hold mailboxes: (.*?)\. The word", text)
    named = set(re.findall(r"`([a-z.]+)`", listed))
    assert named == {row.domain for row in BEHAVIOURS if row.mailboxes} | {"sandbox.test"}


def test_domains_and_words_are_unique() -> None:
    domains = [row.domain for row in BEHAVIOURS if row.domain]
    words = [row.word for row in BEHAVIOURS if row.word]
    assert len(set(domains)) == len(domains)
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("row", BEHAVIOURS, ids=lambda row: str(row.domain))
def test_replies_are_whole_and_match_the_verdict(row: Behaviour) -> None:
    if row.smtp in (Smtp.REFUSE, Smtp.GREYLIST):
        assert re.fullmatch(r"[45]\d\d [45]\.\d{1,2}\.\d{1,2} [ -~]+", row.reply)
        assert row.reply[0] == row.reply[4]
    else:
        assert row.reply == ""
    if row.verdict == "invalid":
        assert row.reply.startswith("5")


@pytest.mark.parametrize(
    "row", [row for row in BEHAVIOURS if row.domain], ids=lambda row: str(row.domain)
)
def test_domain_behaviour_holds_for_subdomains_in_any_spelling(row: Behaviour) -> None:
    for template in ("{}.sandbox.test", "a.{}.sandbox.test", "A.b-c.{}.SANDBOX.Test."):
        assert domain_behaviour(template.format(row.domain)) is row


@pytest.mark.parametrize(
    ("domain", "row"),
    [
        ("sandbox.test", INBOX),
        ("Sandbox.Test.", INBOX),
        ("whatever.sandbox.test", NXDOMAIN),
        ("inbox.whatever.sandbox.test", NXDOMAIN),
        ("notsandbox.test", OUTSIDE),
        ("nosuch.notsandbox.test", OUTSIDE),
        ("test", OUTSIDE),
        ("", OUTSIDE),
        ("nosuch.sandbox.test.example", OUTSIDE),
    ],
)
def test_domains(domain: str, row: Behaviour) -> None:
    assert domain_behaviour(domain) is row


@pytest.mark.parametrize("domain", ["sandbox.test", "a.inbox.sandbox.test", "drop.sandbox.test"])
@pytest.mark.parametrize("row", [row for row in BEHAVIOURS if row.word], ids=lambda row: row.word)
def test_words_count_up_to_a_separator(row: Behaviour, domain: str) -> None:
    for end in ("", "-17", ".x", "17", "_", "+tag"):
        assert recipient_behaviour(f"{row.word}{end}", domain) is row
    assert recipient_behaviour(str(row.word).upper(), domain) is row


@pytest.mark.parametrize("local", ["dropbox", "fullerton", "greyson", "busybee", "lostandfound"])
def test_longer_words_are_people(local: str) -> None:
    assert recipient_behaviour(local, "sandbox.test") is INBOX


def test_words_mean_nothing_where_the_domain_decides() -> None:
    assert recipient_behaviour("nosuch", "catchall.sandbox.test").domain == "catchall"
    assert recipient_behaviour("nosuch", "busy.sandbox.test").domain == "busy"
    assert recipient_behaviour("nosuch", "example.org") is OUTSIDE


@pytest.mark.parametrize(
    "local",
    [
        *("anna.petrova17", "ivan", "j_smith", "sales", "info", "a", "ivan2000petrov", "x1y2z3"),
        *("konstantinopolskaya", "79161234567", "o'hara", "mary-jane_watson+news2024", "иван"),
    ],
)
def test_people_have_mailboxes(local: str) -> None:
    assert recipient_behaviour(local, "inbox.sandbox.test") is INBOX


@pytest.mark.parametrize("domain", [row.domain for row in BEHAVIOURS if row.mailboxes])
def test_made_up_local_parts_have_none(domain: str) -> None:
    for local in ("x7f3k9q2m4w8z1", "9f86d081884c7d659a2feaa0c55ad015", "verify-9f86d081884c7d"):
        assert recipient_behaviour(local, f"{domain}.sandbox.test") is NO_SUCH
    assert recipient_behaviour("x7f3k9q2m4w8z1", "catchall.sandbox.test").smtp is Smtp.ACCEPT


@given(st.uuids(version=4))
def test_random_uuids_look_random(value: UUID) -> None:
    changes = len(re.findall(r"(?=[a-f][0-9]|[0-9][a-f])", value.hex))
    assert looks_random(value.hex) == (changes >= 3)


@given(st.from_regex(r"[a-z]{1,30}[0-9]{0,6}", fullmatch=True))
def test_a_name_with_a_number_behind_never_looks_random(local: str) -> None:
    assert not looks_random(local)


def test_mail_hosts_are_shared_by_the_domains_of_a_kind() -> None:
    hosts = ("mx1.inbox.sandbox.test", "mx2.inbox.sandbox.test")
    assert mail_hosts("sandbox.test") == hosts == mail_hosts("some.shop.inbox.sandbox.test")
    assert is_mail_host("MX1.grey.sandbox.test.")
    assert not is_mail_host("mx1.sandbox.test")
    assert not is_mail_host("mx1.shop.grey.sandbox.test")
