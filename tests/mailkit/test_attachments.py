from __future__ import annotations

import asyncio
import dataclasses
import io
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import dkim
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailkit.attachments import (
    BLOCKED_TYPES,
    LARGEST_FILES,
    LARGEST_MESSAGE,
    LONGEST_NAME,
    blocked_name,
    clean_name,
    content_type,
    mixed_boundary,
    tail_of,
    tail_size,
)
from mailkit.dkim import relaxed_lines
from mailkit.mime import compose
from mailkit.smtp.connection import Connection
from mailkit.smtp.message import WireMessage, prepare
from mailkit.smtp.outcomes import Accepted
from tests.mailkit.smtp.fake_server import EXTENSIONS, UNPIPELINED, FakeServer
from tests.mailkit.test_mime import PLAIN, check_wire_format, parse
from tests.mailkit.test_splice import (
    BOUNDARY,
    CONTENTS,
    FILES,
    LINES,
    STRINGS,
    by_liquid,
    is_plain,
    letter,
    lookup,
    made,
    parsed,
    recipient,
    signer_of,
    unstuffed,
)
from tests.support.letters import Group
from tests.support.letters import Letter as OnItsWay

GOLDEN = Path(__file__).parent.parent / "golden"
LONG_NAME = "Отчёт о продажах за первый квартал, исправленный.xlsx"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
File = tuple[str, str, bytes]


def with_files(*files: File, text_alone: bool = False) -> bytes:
    boundary = mixed_boundary(*(name for name, _kind, _data in files))
    one = dataclasses.replace(PLAIN, mixed=boundary, html="" if text_alone else PLAIN.html)
    return compose(one) + tail_of(boundary, files)


def files_in(message: EmailMessage) -> list[tuple[str | None, bytes]]:
    found = []
    for part in message.iter_attachments():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((part.get_filename(), payload))
    return found


# The form


def test_golden() -> None:
    data = with_files(
        ("price list.pdf", "application/pdf", b"%PDF-1.4 no more than this"),
        (LONG_NAME, SHEET, bytes(range(100))),
    )
    assert data == (GOLDEN / "attachments.eml").read_bytes()
    check_wire_format(data)
    message = parse(data)
    assert [part.get_content_type() for part in message.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html"),
        *("application/pdf", SHEET),
    ]
    assert files_in(message) == [
        ("price list.pdf", b"%PDF-1.4 no more than this"),
        (LONG_NAME, bytes(range(100))),
    ]


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=150
)


@given(NAMES, st.binary(max_size=300))
@example("a  b.pdf", b"")
@example("x" * 150, b".\r\n.")
@settings(deadline=None)
def test_names_and_contents_come_back(name: str, data: bytes) -> None:
    message = with_files((name, "application/octet-stream", data), text_alone=True)
    check_wire_format(message)
    ((found, content),) = files_in(parse(message))
    assert content == data
    if name == name.strip():
        assert found == name


@pytest.mark.parametrize("name", ['a"b.pdf', "a\\b.pdf", "a\r\nBcc: e@x.test.pdf", "x" * 150])
def test_odd_names_are_no_headers(name: str) -> None:
    message = parse(with_files((name, "application/pdf", b"x")))
    assert message["Bcc"] is None
    ((found, _content),) = files_in(message)
    assert found == name.replace("\r", "_").replace("\n", "_")


@given(st.lists(st.tuples(NAMES, st.sampled_from(["text/csv", SHEET]), st.binary(max_size=200))))
@example([("large", SHEET, b"." * 200_000), ("a  b", SHEET, b"\r\n" * 58_368)])
@settings(deadline=None)
def test_the_tail_is_canonical_has_no_dots_and_its_size_is_known(files: list[File]) -> None:
    tail = tail_of(BOUNDARY, files)
    assert relaxed_lines(tail) == tail
    assert b"\n." not in tail
    assert tail.isascii()
    assert tail.endswith(b"--\r\n")
    assert max(map(len, tail.split(b"\r\n"))) <= 100
    sizes = [(name, kind, len(data)) for name, kind, data in files]
    assert len(tail) == tail_size(BOUNDARY, sizes)


def test_all_files_that_are_allowed_leave_room_for_a_letter() -> None:
    names = [("name" * 30, SHEET, LARGEST_FILES // 10)] * 10
    assert tail_size(BOUNDARY, names) < LARGEST_MESSAGE - 180_000


def test_a_text_with_the_boundary_in_it_is_refused() -> None:
    one = dataclasses.replace(PLAIN, mixed=BOUNDARY, text=f"--{BOUNDARY.decode()}--\n")
    with pytest.raises(ValueError, match="boundary"):
        compose(one)


@pytest.mark.parametrize("logic", ["", "{% if city %}{% endif %}"])
def test_a_recipient_cannot_end_the_text(logic: str) -> None:
    """Who has had one letter knows the boundary of the campaign."""
    one = letter(logic + "Dear {{ city }}\n", attachments=FILES)
    assert is_plain(one) is not bool(logic)
    message = made(one, recipient({"city": f"\n--{BOUNDARY.decode()}--\n"}))
    assert isinstance(message, WireMessage)
    assert files_in(parsed(message)) == [(name, data) for name, _kind, data in CONTENTS]


@given(LINES, LINES, STRINGS, st.sampled_from(["", "{% if city %}{% endif %}"]))
@settings(max_examples=60, deadline=None)
def test_the_signature_covers_attachments(text: str, html: str, city: str, logic: str) -> None:
    one = letter(f"{logic}Hi {text}", html, attachments=FILES, signer_of=signer_of)
    message = made(one, recipient({"city": city}))
    if not isinstance(message, WireMessage):
        return
    whole = unstuffed(message)
    assert message.size == len(whole)
    assert dkim.verify(whole, dnsfunc=lookup)
    assert not dkim.verify(whole.replace(b"AAECAwQF", b"AAECAwQG", 1), dnsfunc=lookup)
    assert len(files_in(parsed(message))) == 2
    unsigned = by_liquid(one, recipient({"city": city}))
    assert isinstance(unsigned, WireMessage)
    assert whole.endswith(unstuffed(unsigned))


def test_a_plain_letter_stays_spliced() -> None:
    assert is_plain(letter("Hi {{ city }}\n", "<p>{{ city }}</p>", attachments=FILES))


def test_messages_share_the_files() -> None:
    tail = tail_of(BOUNDARY, CONTENTS)
    shared = dataclasses.replace(FILES, tail=lambda: tail)
    for logic in ("", "{% if city %}{% endif %}"):
        one = letter(f"{logic}{{{{ city }}}}\n", attachments=shared, signer_of=signer_of)
        for city in ("Perm", "Omsk"):
            message = made(one, recipient({"city": city}))
            assert isinstance(message, WireMessage)
            assert message.tail is tail


# On the wire


@pytest.mark.parametrize("extensions", [EXTENSIONS, UNPIPELINED])
@pytest.mark.parametrize("hold", [0.0, 0.01])
def test_letters_with_files_arrive_as_they_are(extensions: Sequence[str], hold: float) -> None:
    tail = tail_of(BOUNDARY, [("a.bin", "application/octet-stream", b"\n." * 300_000)])
    small = prepare(b"Subject: small\r\n\r\n.Hello\r\n")
    with_tail = prepare(b"Subject: files\r\n\r\n..Hello\r\n", tail)
    messages = [small, with_tail, with_tail, small]
    group = Group([OnItsWay(f"{n}@d.example", one) for n, one in enumerate(messages)])

    async def go() -> list[bytes]:
        async with FakeServer(extensions=extensions) as server:
            connection = await Connection.open(server.endpoint())
            assert isinstance(connection, Connection)
            async with asyncio.timeout(30):
                await connection.send_each("s@s.example", group, limit=9, hold=lambda: hold)
            await connection.close()
            return [one.message for one in server.accepted]

    arrived = asyncio.run(go())
    assert all(isinstance(outcome, Accepted) for outcome in group.told())
    assert arrived == [unstuffed(one) for one in messages]
    assert list(map(len, arrived)) == [one.size for one in messages]


# Names and types


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("price list.pdf", "price list.pdf"),
        ("Отчёт.xlsx", "Отчёт.xlsx"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\anna\\плен.txt", "плен.txt"),
        ("a\r\nBcc: e@x.test\r\n.pdf", "a Bcc_ e@x.test.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\u200b\u2028\x00b.txt", "a b.txt"),
        ('x"<y>|?*.pdf', "x__y____.pdf"),
        ("cmd.exe. . ", "cmd.exe"),
        ("", "file"),
        ("...", "file"),
        ("/", "file"),
        (".htaccess", "htaccess"),
        ("И\u0306.txt", "Й.txt"),
    ],
)
def test_names_are_cleaned(name: str, kept: str) -> None:
    assert clean_name(name) == kept


@given(st.text(max_size=400))
@example("x" * 300 + ".pdf")
@example("п" * 300 + ".verylongending" * 3)
def test_a_cleaned_name_is_safe_anywhere(name: str) -> None:
    cleaned = clean_name(name)
    assert 0 < len(cleaned) <= LONGEST_NAME
    assert cleaned.isprintable()
    assert not set(cleaned) & set('/\\<>:"|?*')
    assert cleaned == cleaned.strip(". ")
    assert clean_name(cleaned) == cleaned


def test_a_long_name_keeps_its_ending() -> None:
    assert clean_name("x" * 300 + ".pdf") == "x" * 116 + ".pdf"


def test_types_do_not_depend_on_the_machine() -> None:
    assert content_type("A.PDF") == "application/pdf"
    assert content_type("README") == "application/octet-stream"
    assert content_type("x.unknown") == "application/octet-stream"


@pytest.mark.parametrize("ending", sorted(BLOCKED_TYPES))
def test_programs_are_refused(ending: str) -> None:
    for name in (f"x.{ending}", f"report.pdf.{ending.upper()}", f"x.{ending}.", f"x.{ending}.gz"):
        assert blocked_name(name, b"text") == name


@pytest.mark.parametrize(
    ("name", "data"),
    [("report.pdf", b"MZ\x90\x00" + b"\0" * 60), ("notes.txt", b"\x7fELF\x02\x01")],
)
def test_programs_under_another_name_are_refused(name: str, data: bytes) -> None:
    assert blocked_name(name, data) == name


@pytest.mark.parametrize("name", ["report.pdf", "exe", "letter.exe.pdf", "MZ.txt", "a.tar.gz"])
def test_other_files_are_not(name: str) -> None:
    assert blocked_name(name, b"MZ, said she, is no program.") == ""


def packed(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, name * 100)
    return file.getvalue()


def test_programs_in_an_archive_are_refused() -> None:
    assert blocked_name("a.zip", packed("readme.txt", "bin/run.exe")) == "run.exe"
    assert blocked_name("a.zip", packed("скрипт.js")) == "скрипт.js"
    assert blocked_name("a.zip", packed("readme.txt", "exe/notes.md")) == ""
    assert blocked_name("a.zip", b"no archive at all") == ""
    assert blocked_name("a.zip", packed("x.exe")[:-22]) == "x.exe"


@given(st.binary(max_size=200))
def test_a_broken_archive_is_no_fault(data: bytes) -> None:
    assert isinstance(blocked_name("a.zip", packed("a.txt")[:60] + data), str)
