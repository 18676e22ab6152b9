from __future__ import annotations

from email.header import decode_header, make_header
from email.headerregistry import HeaderRegistry
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.addresses import Address, Fault, format_mailbox, parse_address


@pytest.mark.parametrize(
    ("raw", "email"),
    [
        ("a@b.com", "a@b.com"),
        ("  A.B+tag@Ex-Ample.COM\r\n", "a.b+tag@ex-ample.com"),
        ("\ufeffa@b.com\u200b\u00a0", "a@b.com"),
        ("Ivan <a@b.ru>", "a@b.ru"),
        ("Иванов, Иван <a@b.ru>", "a@b.ru"),
        ('"x, y <q@r.s>" <a@b.ru>', "a@b.ru"),
        ("evil@x.com <a@b.ru>", "a@b.ru"),
        ("<a@b.ru>", "a@b.ru"),
        ("MAILTO:a%2Bb@c.ru?subject=x", "a+b@c.ru"),
        ("<mailto:a@b.ru>", "a@b.ru"),
        ("o'neil!#$%&*/=?^_`{|}~-@b.com", "o'neil!#$%&*/=?^_`{|}~-@b.com"),
        ("иван@почта.рф", "иван@xn--80a1acny.xn--p1ai"),
        ("a@BÜCHER.de", "a@xn--bcher-kva.de"),
        ("a@faß.de", "a@xn--fa-hia.de"),
        ("a@b。com", "a@b.com"),
        ("a@XN--80A1ACNY.xn--p1ai", "a@xn--80a1acny.xn--p1ai"),
        ('"a b"@c.de', '"a b"@c.de'),
        ('"a@b"@c.de', '"a@b"@c.de'),
        ('"john"@c.de', "john@c.de"),
        ('"jo\\hn"@c.de', "john@c.de"),
        ('"a\\"b"@c.de', '"a\\"b"@c.de'),
        ("e\u0301@c.de", "\u00e9@c.de"),
        ("a" * 64 + "@b.com", "a" * 64 + "@b.com"),
        ("a@r3---sn-x.com", "a@r3---sn-x.com"),
        ("a@163.com", "a@163.com"),
    ],
)
def test_addresses_are_read(raw: str, email: str) -> None:
    address = parse_address(raw)
    assert isinstance(address, Address), address
    assert address.email == email
    assert address.domain.isascii()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "empty"),
        (" \u200b\ufeff ", "empty"),
        ("<>", "empty"),
        ("mailto:", "empty"),
        ("a.b.com", "no_at"),
        ("a@b@c.de", "many_at"),
        ("A <a@b.ru>, B <c@d.ru>", "many_at"),
        ("@b.com", "local_empty"),
        ('""@b.com', "local_empty"),
        ("a" * 65 + "@b.com", "local_too_long"),
        ("я" * 33 + "@b.com", "local_too_long"),
        ("a..b@c.de", "bad_local"),
        (".a@c.de", "bad_local"),
        ("a.@c.de", "bad_local"),
        ("a b@c.de", "bad_local"),
        ("a\u200bb@c.de", "bad_local"),
        ("a\u3000b@c.de", "bad_local"),
        ("\u202ea@c.de", "bad_local"),
        ("\ud800@c.de", "bad_local"),
        ('"a"b"@c.de', "bad_local"),
        ("a,b@c.de", "bad_local"),
        ("a@", "domain_empty"),
        ("a@localhost", "bad_domain"),
        ("a@b.com.", "bad_domain"),
        ("a@b..com", "bad_domain"),
        ("a@-b.com", "bad_domain"),
        ("a@b-.com", "bad_domain"),
        ("a@b_c.com", "bad_domain"),
        ("a@1.2.3.4", "bad_domain"),
        ("a@b c.com", "bad_domain"),
        ("a@b.com>", "bad_domain"),
        ("a@" + "b" * 64 + ".com", "bad_domain"),
        ("a@\ud800.de", "bad_domain"),
        ("a@xn--é.de", "bad_domain"),
        ("a@[192.0.2.1]", "ip_literal"),
        ("a@[IPv6:::1]", "ip_literal"),
        ("a@" + "b.c" * 100 + ".com", "too_long"),
        ("a" * 60 + "@" + "bcd." * 50 + "com", "too_long"),
        ("a\r\n@b.com", "control_character"),
        ("a@b.com\r\nRCPT TO:<c@d.e>", "control_character"),
        ("Na\0me <a@b.com>", "control_character"),
        ("a\x85b@c.de", "control_character"),
        ("a\u2028b@c.de", "control_character"),
        ("mailto:a%0D%0Ab@c.de", "control_character"),
    ],
)
def test_faults(raw: str, code: str) -> None:
    assert parse_address(raw) == Fault(code)  # type: ignore[arg-type]


PIECES = st.one_of(
    st.text(max_size=8),
    st.text('ab.@<>"\\ []-\r\n,;:()\u200b', max_size=8),
    st.sampled_from(["@", ".com", "mailto:", '"', "xn--", "Я", "<", ">", "%40", "%0a"]),
)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_whatever_is_read_is_safe_and_canonical(raw: str) -> None:
    address = parse_address(raw)
    if isinstance(address, Fault):
        return
    assert parse_address(address.email) == address
    assert len(address.email.encode()) <= 254
    assert len(address.local.encode()) <= 64
    assert address.domain.isascii()
    assert address.domain == address.domain.lower()
    assert not any(ord(ch) < 32 or ch == "\x7f" for ch in address.email)
    assert address.email.rpartition("@")[0] == address.local


ATOM = st.text("abcxyz019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=12)
LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(
    st.lists(ATOM, min_size=1, max_size=4).map(".".join),
    st.lists(LABEL, min_size=2, max_size=4).map(".".join),
)
def test_every_dot_atom_at_a_host_name_is_read(local: str, domain: str) -> None:
    assert parse_address(f"{local}@{domain}") == Address(local, domain)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "a@b.com"),
        ("  ", "a@b.com"),
        ("Ivan Petrov", "Ivan Petrov <a@b.com>"),
        ("O'Neil", "O'Neil <a@b.com>"),
        ("Acme, Inc.", '"Acme, Inc." <a@b.com>'),
        ('Say "hi" \\', '"Say \\"hi\\" \\\\" <a@b.com>'),
        ("Иван", "=?utf-8?b?0JjQstCw0L0=?= <a@b.com>"),
        ("=?utf-8?q?x?=", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@b.com>"),
    ],
)
def test_format_mailbox(name: str, expected: str) -> None:
    assert format_mailbox(name, "A@b.com") == expected


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120))
def test_names_come_back(name: str) -> None:
    mailbox = format_mailbox(name, "a@b.com")
    assert mailbox.isascii()
    shown, address = parseaddr(mailbox)
    assert address == "a@b.com"
    assert str(make_header(decode_header(shown))) == name.strip()
    parsed = HeaderRegistry()("To", mailbox)
    assert [item.addr_spec for item in parsed.addresses] == ["a@b.com"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "bad", ["\r", "\n", "\r\nBcc: x@y.z", "\0", "\x1b", "\x7f", "\x85", "\u2028"]
)
def test_control_characters_in_mailboxes_are_errors(bad: str) -> None:
    with pytest.raises(ValueError, match="control"):
        format_mailbox(f"a{bad}b", "a@b.com")
    with pytest.raises(ValueError, match="control"):
        format_mailbox("a", f"a@b.com{bad}")


@pytest.mark.parametrize("bad", ["", "a", "a@b@c.de", "a@b.com, c@d.ru"])
def test_mailbox_without_an_address_is_an_error(bad: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        format_mailbox("a", bad)
