from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.dkim import (
    ALGORITHMS,
    OVERSIGNED,
    Algorithm,
    DkimKey,
    Signer,
    body_hash,
    dns_record,
    generate_key,
    relaxed_header,
    relaxed_lines,
    same_key,
)
from mailkit.mime import Letter, compose
from tests.support.dkim import SIGNED, relaxed_body, sign_message

AT = 1_790_000_000
PRIVATE = {algorithm: generate_key(algorithm)[0] for algorithm in ALGORITHMS}
RSA = DkimKey("example.com", "r1", "rsa-sha256", PRIVATE["rsa-sha256"])
ED25519 = DkimKey("example.com", "e1", "ed25519-sha256", PRIVATE["ed25519-sha256"])
ZONE = {
    f"{key.selector}._domainkey.{key.domain}.": dns_record(key.private_key)
    for key in (RSA, ED25519)
}
LETTER = compose(
    Letter(
        from_mailbox="Shop <news@example.com>",
        to="Анна <anna@example.net>",
        subject="Скидки и новости этой недели для всех наших покупателей",
        text="Привет, Анна!\n\nСкидки.\n",
        html="<p>Hello, <b>Anna</b>!</p>\n" + "<p>News  and\tmore.</p>\n" * 50,
        message_id="<1.2@example.com>",
        date=datetime(2026, 11, 21, tzinfo=UTC),
        headers=(
            ("Reply-To", "help@example.com"),
            (
                "List-Unsubscribe",
                "<https://example.com/u/" + "a" * 60 + ">, <mailto:u@example.com>",
            ),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("List-Id", "News <news.example.com>"),
            ("Feedback-ID", "1:2:shop"),
        ),
    )
)


def verifies(message: bytes, index: int = 0, zone: dict[str, str] = ZONE) -> bool:
    def lookup(name: bytes, timeout: int = 5) -> bytes:
        return zone[name.decode()].encode()

    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=lookup))
    except dkim.DKIMException:
        return False


# The published example of RFC 8463, appendix A.

EXAMPLE_PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
EXAMPLE_PRIVATE = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
EXAMPLE_SIGNATURE = b"""DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==""".replace(b"\n", b"\r\n")
EXAMPLE_HEADERS = (
    b"From: Joe SixPack <joe@football.example.com>",
    b"To: Suzie Q <suzie@shopping.example.net>",
    b"Subject: Is dinner ready?",
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)",
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>",
)
EXAMPLE_BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"


def test_the_example_of_rfc_8463_has_our_canonical_form() -> None:
    assert body_hash(relaxed_body(EXAMPLE_BODY)) in EXAMPLE_SIGNATURE
    unsigned, _, value = EXAMPLE_SIGNATURE.rpartition(b" b=")
    signed = b"".join(map(relaxed_header, EXAMPLE_HEADERS))
    signed += relaxed_header(unsigned + b" b=").removesuffix(b"\r\n")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(EXAMPLE_PUBLIC))
    key.verify(base64.b64decode(value), sha256(signed).digest())


def test_the_key_of_rfc_8463_has_the_published_record_and_signs_its_message() -> None:
    der = bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(EXAMPLE_PRIVATE)
    pem = (
        "-----BEGIN PRIVATE KEY-----\n"
        + base64.b64encode(der).decode()
        + "\n-----END PRIVATE KEY-----\n"
    )
    record = f"v=DKIM1; k=ed25519; p={EXAMPLE_PUBLIC}"
    assert dns_record(pem) == record
    key = DkimKey("football.example.com", "brisbane", "ed25519-sha256", pem)
    message = b"\r\n".join((*EXAMPLE_HEADERS, b"", EXAMPLE_BODY))
    zone = {"brisbane._domainkey.football.example.com.": record}
    assert verifies(sign_message(message, [key], 1528637909), zone=zone)


# Canonical form, against dkimpy's own.

space = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t ", b"\t\t"])
fold = st.sampled_from([b"", b"", b"\r\n ", b"\r\n\t", b" \r\n  "])
word = st.binary(max_size=6).map(lambda data: re.sub(rb"[\r\n\x0b\x0c]", b"x", data))
value = st.lists(st.tuples(space, word, fold, space), max_size=6).map(
    lambda parts: b"".join(b"".join(part) for part in parts)
)
name = st.sampled_from([b"From", b"SUBJECT", b"x-1", b"To ", b"Cc\t"])
line = st.lists(st.tuples(space, word, space), max_size=4).map(
    lambda parts: b"".join(b"".join(part) for part in parts)
)
lines = st.lists(line, max_size=8).map(lambda parts: b"".join(part + b"\r\n" for part in parts))


@given(name, value)
def test_headers_are_canonical(name: bytes, value: bytes) -> None:
    [(expected_name, expected_value)] = Relaxed.canonicalize_headers([(name, value)])
    assert relaxed_header(name + b":" + value) == expected_name + b":" + expected_value


@given(lines, st.sampled_from([b"", b"end", b"e  n\td", b"\r\n", b"\r\n\r\n\r\n", b" \r\n\t\r\n"]))
def test_bodies_are_canonical(lines: bytes, end: bytes) -> None:
    body = lines + end
    expected = Relaxed.canonicalize_body(body)
    hashed = base64.b64encode(sha256(expected).digest())
    assert body_hash(relaxed_body(body)) == hashed
    assert body_hash(expected) == hashed


@given(lines, lines)
def test_chunks_join_to_the_canonical_body(first: bytes, second: bytes) -> None:
    assert relaxed_lines(first) + relaxed_lines(second) == relaxed_lines(first + second)
    assert relaxed_lines(relaxed_lines(first)) == relaxed_lines(first)


def test_what_is_canonical_is_not_copied() -> None:
    chunk = b"<p>One two.</p>\r\n" * 100
    assert relaxed_lines(chunk) is chunk


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n\t\r\n", b" "])
def test_an_empty_body_hashes_to_that_of_no_octets(body: bytes) -> None:
    # RFC 6376 section 3.4.4.
    assert body_hash(relaxed_body(body)) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_blanks_at_the_end_of_a_last_line_without_crlf_do_not_count() -> None:
    # Section 3.4.4 drops them first and then adds the CRLF; dkimpy keeps one.
    assert body_hash(relaxed_body(b"a b \t ")) == body_hash(b"a b\r\n")


def test_a_header_without_a_colon_is_an_error() -> None:
    with pytest.raises(ValueError, match="colon"):
        relaxed_header(b"From")


# Signing.


@pytest.mark.parametrize("keys", [[RSA], [ED25519], [RSA, ED25519]], ids=str)
def test_every_signature_verifies(keys: Sequence[DkimKey]) -> None:
    signed = sign_message(LETTER, keys, AT)
    assert signed.endswith(LETTER)
    assert [verifies(signed, index) for index in range(len(keys))] == [True] * len(keys)
    assert signed.count(b"DKIM-Signature: ") == len(keys)


def test_the_header_is_folded_and_says_what_it_covers() -> None:
    long = replace(RSA, domain="a-long-domain-name-for-one-shop.and-its-many.example.com")
    head = sign_message(LETTER, [long, ED25519], AT).removesuffix(LETTER)
    assert head.endswith(b"\r\n")
    assert max(map(len, head.split(b"\r\n"))) <= 78
    assert all(one[:1] == b" " or one[:5] == b"DKIM-" for one in head.split(b"\r\n")[:-1])
    for one in re.split(rb"\r\n(?=D)", head):
        tags = dict(part.strip().split(b"=", 1) for part in one.split(b":", 1)[1].split(b";"))
        assert tags[b"v"] == b"1"
        assert tags[b"c"] == b"relaxed/relaxed"
        assert tags[b"t"] == str(AT).encode()
        covered = re.sub(rb"\s", b"", tags[b"h"]).split(b":")
        fields = b"\r\n" + LETTER.partition(b"\r\n\r\n")[0].lower()
        present = [name for name in SIGNED if b"\r\n%b:" % name in fields]
        assert covered == [*present, *OVERSIGNED]
        assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= set(covered)


@pytest.mark.parametrize("key", [RSA, ED25519], ids=str)
def test_a_changed_letter_does_not_verify(key: DkimKey) -> None:
    signed = sign_message(LETTER, [key], AT)
    head, _, body = LETTER.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    assert len(fields) == 12
    for field in fields:
        name = field.partition(b":")[0]
        assert name.lower() in SIGNED
        assert not verifies(signed.replace(field, field + b"x", 1)), name
        assert not verifies(signed.replace(field + b"\r\n", b"", 1)), name
    assert not verifies(signed.replace(body, body.replace(b"<b>", b"<i>", 1)))
    assert not verifies(signed + b"more\r\n")
    assert not verifies(signed.replace(b"t=%d" % AT, b"t=%d" % (AT + 1)))
    assert verifies(signed + b"\r\n\r\n")


@pytest.mark.parametrize("name", OVERSIGNED)
def test_a_second_header_for_the_reader_does_not_verify(name: bytes) -> None:
    signed = sign_message(LETTER, [RSA], AT)
    added = name + b": other@example.org\r\n"
    assert not verifies(added + signed)
    assert not verifies(signed.replace(b"\r\nFrom:", b"\r\n" + added + b"From:", 1))


def test_other_headers_may_be_added_and_lines_folded_anew() -> None:
    signed = sign_message(LETTER, [ED25519], AT)
    assert verifies(b"Received: from a by b\r\n" + signed)
    assert verifies(signed.replace(b"\r\nTo: ", b"\r\nTO:\r\n\t ", 1))


def test_headers_that_occur_twice_are_signed_from_the_last_on() -> None:
    message = b"From: a@example.com\r\nCc: b@example.com\r\nCC:\r\n c@example.com\r\n\r\nHi\r\n"
    signed = sign_message(message, [ED25519], AT)
    assert re.search(rb"h=from:cc:cc:", signed)
    assert verifies(signed)


@pytest.mark.parametrize(
    "message",
    [
        b"From: a@example.com",
        b"From: a@example.com\r\n\r\n",
        b"From: a@example.com\r\n\r\n\r\n\r\n",
    ],
)
def test_a_letter_without_text_is_signed(message: bytes) -> None:
    signed = sign_message(message, [RSA, ED25519], AT)
    assert verifies(signed, 0)
    assert verifies(signed, 1)


@settings(deadline=None)
@given(value, lines, st.sampled_from([b"", b"end", b"\r\n\r\n"]))
def test_any_message_verifies(value: bytes, lines: bytes, end: bytes) -> None:
    # A line of blanks alone ends the header for dkimpy.
    value = re.sub(rb"\r\n[ \t]+(?=\r\n|$)", b"", value)
    message = b"From: a@example.com\r\nSubject:%b\r\nDate: x\r\n\r\n%b%b" % (value, lines, end)
    assert verifies(sign_message(message, [ED25519], AT))


def test_a_signer_signs_what_its_caller_made_canonical() -> None:
    signer = Signer([RSA, ED25519], [b"from", b"subject", b"x-loop"])
    body = b"One two\r\n"
    for number in range(3):
        fields = [b"From: a@example.com", b"Subject: Number\r\n %d" % number, b"X-Loop: 1"]
        canonical = b"".join(map(relaxed_header, fields))
        signature = signer.sign(canonical, body_hash(body), AT + number)
        message = signature + b"\r\n".join((*fields, b"", body))
        assert verifies(message, 0)
        assert verifies(message, 1)


def test_without_keys_nothing_is_added() -> None:
    assert sign_message(LETTER, [], AT) == LETTER


# Keys.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_repr_shows_the_private_key(algorithm: Algorithm) -> None:
    private, record = generate_key(algorithm)
    key = DkimKey("example.com", "s", algorithm, private)
    secret = private.splitlines()[1]
    for shown in (repr(key), str(key), repr(Signer([key], [b"from"])), record):
        assert "PRIVATE" not in shown
        assert secret not in shown


def test_records_are_what_dns_holds() -> None:
    rsa, ed25519 = dns_record(PRIVATE["rsa-sha256"]), dns_record(PRIVATE["ed25519-sha256"])
    assert rsa.startswith("v=DKIM1; k=rsa; p=MIIBIjANBgkq")  # 2048 bits
    assert len(base64.b64decode(ed25519.removeprefix("v=DKIM1; k=ed25519; p="))) == 32


@pytest.mark.parametrize(
    ("published", "same"),
    [
        ("v=DKIM1; k=rsa; p=QUJD", True),
        ("p=QUJD", True),
        ("v=DKIM1;t=s;p=QU JD ;", True),
        ("v=DKIM1; k=rsa; p=", False),
        ("v=DKIM1; k=rsa; p=QUJE", False),
        ("v=DKIM1; k=ed25519; p=QUJD", False),
        ("v=spf1 -all", False),
        ("", False),
    ],
)
def test_a_published_record_is_known_by_its_key(published: str, same: bool) -> None:
    assert same_key(published, "v=DKIM1; k=rsa; p=QUJD") is same


@pytest.mark.parametrize(
    "make",
    [
        lambda: Signer([RSA], [b"to", b"subject"]),
        lambda: Signer([RSA], [b"From"]),
        lambda: Signer([RSA], [b"from", b"a:b"]),
        lambda: Signer([RSA], [b"from", b"a;b"]),
        lambda: Signer([RSA], [b"from", b"a\r\nb"]),
        lambda: Signer([replace(RSA, algorithm="ed25519-sha256")], [b"from"]),
        lambda: Signer([replace(RSA, private_key="no key")], [b"from"]),
        lambda: replace(RSA, algorithm="rsa-sha1"),  # type: ignore[arg-type]
        lambda: replace(RSA, domain="example.com\r\nX: y"),
        lambda: replace(RSA, domain="example.com\n"),
        lambda: replace(RSA, domain="example.com; x=1"),
        lambda: replace(RSA, domain="EXAMPLE.com"),
        lambda: replace(RSA, domain=""),
        lambda: replace(RSA, selector="a b"),
        lambda: replace(RSA, selector=""),
        lambda: sign_message(b"To: a@example.com\r\n\r\nHi\r\n", [RSA], AT),
        lambda: generate_key("rsa-sha1"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_signed_with_is_an_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        make()
