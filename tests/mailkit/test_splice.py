from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import dkim
import pytest
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st
from markupsafe import Markup, escape

from mailkit.addresses import format_mailbox
from mailkit.attachments import Attachments, mixed_boundary, tail_of
from mailkit.dkim import ALGORITHMS, DkimKey, Signer, dns_record, generate_key
from mailkit.mime import CUT, one_line, unix_line_ends
from mailkit.personalize import MAX_SOURCE, RenderFault, Template, compile_template
from mailkit.slots import Slot, plain_slots
from mailkit.smtp.message import WireMessage, prepare
from mailkit.splice import CompiledLetter, Recipient, choose_encoding

AT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)
ASCII_LINES = "All the news of this week, and of the last one.\n" * 40
RUSSIAN_LINES = "Все новости этой недели и прошлой тоже.\n" * 40
KEYS = tuple(
    DkimKey("shop.test", algorithm[:3], algorithm, generate_key(algorithm)[0])
    for algorithm in ALGORITHMS
)
ZONE = {f"{key.selector}._domainkey.shop.test.": dns_record(key.private_key) for key in KEYS}
CONTENTS = (
    ("a.pdf", "application/pdf", bytes(range(256)) * 3),
    ("Отчёт за месяц.xlsx", "application/octet-stream", b""),
)
BOUNDARY = mixed_boundary("a", "b")
FILES = Attachments(BOUNDARY, lambda: tail_of(BOUNDARY, CONTENTS))
Outcome = WireMessage | RenderFault | type[ValueError]

NAMES = ("first_name", "city", "_link_1", "email", "unsubscribe_url", "size", "cols")
FIELDS = st.builds(
    "{{{{{0}{1}{0}{2}}}}}".format,
    st.sampled_from(("", " ", "  ", "\t", "\n")),
    st.sampled_from(NAMES),
    st.sampled_from(
        ("", "| default: 'you'", '|default:"<b>it\'s</b>" ', "| default: ''", "| default: '100%'")
    ),
)
TEXTS = st.one_of(
    st.sampled_from(
        (
            *("\n", "\r\n", "\r", "\n\n", "\r\n\r\n", ".", "..", "\n.\n", "\r\n.\r\n", "\n.", ". "),
            *(" ", "\t", " \n", "\t\n", " \r\n", "  x", "=", "=20", "=\n", "%", "%s", "%%(x)s"),
            *("{", "}", "}}", "{ {", "%}", "<p>", "</p>\n", "é", "Привет", "\u2028", "\x85", "🌱"),
            *("x" * 75, "x" * 76, "y" * 77, "long " * 300, "a" * 1200, "From here", "--", CUT),
            *(CUT + "\n", "\x00", "=_", "--=_", "Bcc: e@x.test\n"),
        )
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
PADDING = st.sampled_from(("", "", ASCII_LINES, RUSSIAN_LINES))
SOURCES = st.builds(
    lambda before, pieces, after: before + "".join(pieces) + after,
    PADDING,
    st.lists(FIELDS | TEXTS, max_size=25),
    PADDING,
)
# Some lines out of many have fields: most of the part is encoded once.
LINES = st.lists(
    st.one_of(
        st.just("A line without a field, as most are.\n"),
        st.just(".\n"),
        st.builds("{}{}{}\n".format, TEXTS, FIELDS, TEXTS),
        FIELDS.map("{}\n".format),
    ),
    max_size=40,
).map("".join)
STRINGS = st.one_of(
    st.sampled_from(
        (
            *("", " ", "\t", ".", "..", "\r", "\n", "\r\n", "\n.\n", "\r\n.\r\n", ".\r", "a\r"),
            *("%s", "%", "%(x)s", "{{ city }}", "{% if %}", "{{", "<b>", "&amp;", "\"'<>&"),
            *(CUT, CUT + "\n", CUT + "\r", "\n" + CUT + "\n", "=00=1F=00\r\n", "a \n b\t\n"),
            *("\u2028", "\x85", "\x0b", "\x00", "x" * 80, "Анна", "é" * 50, "🌱", "x " * 600),
        )
    ),
    st.text(max_size=40),
)
VALUES = st.one_of(
    STRINGS,
    STRINGS.map(Markup),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.lists(STRINGS, max_size=2),
    st.dictionaries(st.sampled_from(("a", "b")), STRINGS, max_size=2),
    st.just(Markup("<i>safe</i>")),
    st.dates(),
)
SETS_OF_VALUES = st.dictionaries(st.sampled_from(NAMES), VALUES) | st.dictionaries(
    st.sampled_from(NAMES), STRINGS
)
thorough = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def template(source: str, *, html: bool = False) -> Template:
    compiled = compile_template(source, html=html)
    if not isinstance(compiled, Template):
        reject()
    return compiled


def letter(
    text: str = "Hi\n", html: str = "", subject: str = "News", **more: Any
) -> CompiledLetter:
    options = {"from_mailbox": "Shop <news@shop.test>", "headers": (("Reply-To", "h@x.test"),)}
    return CompiledLetter(
        subject=template(subject),
        html=template(html, html=True) if html else None,
        text=template(text),
        **options | more,
    )


def is_plain(one: CompiledLetter) -> bool:
    """Whether its letters are spliced and not rendered by Liquid."""
    return one._plain is not None


def recipient(values: Mapping[str, object] | None = None, **changes: Any) -> Recipient:
    usual = {
        "to": "anna@x.test",
        "message_id": "<7.5.abcdef@shop.test>",
        "unsubscribe_url": "https://shop.test/u/" + "t" * 24,
    }
    return Recipient(values=values or {}, **usual | changes)


def made(one: CompiledLetter, to: Recipient) -> Outcome:
    try:
        return one.make(to, AT)
    except ValueError:
        return ValueError


def by_liquid(one: CompiledLetter, to: Recipient) -> Outcome:
    try:
        message = one.general(to, AT)
    except ValueError:
        return ValueError
    if isinstance(message, RenderFault):
        return message
    return prepare(message, one._attachments.tail() if one._attachments else b"")


def unstuffed(message: WireMessage) -> bytes:
    assert not re.search(rb"(?m)^\.", message.tail)
    return re.sub(rb"(?m)^\.\.", b".", message.stuffed) + message.tail


def parsed(message: WireMessage) -> EmailMessage:
    assert message.stuffed.endswith(b"\r\n")
    found = email.message_from_bytes(unstuffed(message), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert isinstance(part, EmailMessage)
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return unix_line_ends(payload.decode())


def bare(text: str) -> str:
    """Text whose line ends and NULs do not count: a value may add to either at its ends."""
    return re.sub("[\r\n]+", "\n", re.sub("[\x00\x1f]", "", text)).rstrip("\n")


def signer_of(names: Sequence[bytes]) -> Signer:
    return Signer(KEYS, names)


def lookup(name: bytes, timeout: int = 5) -> bytes:
    return ZONE[name.decode()].encode()


# The same bytes both ways


@thorough
@given(SOURCES | LINES, SOURCES | LINES, FIELDS | TEXTS, SETS_OF_VALUES)
@example("One\r\nTwo {{ city }}\r\nThree\r\n", "", "News", {"city": "Perm"})
@example("One\rTwo\n{{ city }}\nThree\r", "<p>\r\n</p>\r\n", "News", {"city": "Perm"})
@example(".{{ city }}\n.\n{{ city }}", "", "News", {"city": ".\n."})
@example("{{ city }}\nstill\n{{ city }}\n", "", "News", {"city": CUT + "\n"})
@example("{{ city }}", "", "News", {})
def test_spliced_is_what_liquid_and_compose_make(
    text: str, html: str, subject: str, values: dict[str, object]
) -> None:
    one = letter(text, html, subject)
    assert made(one, recipient(values)) == by_liquid(one, recipient(values))
    with_files = letter(text, html, subject, attachments=FILES)
    assert made(with_files, recipient(values)) == by_liquid(with_files, recipient(values))


@thorough
@given(SOURCES | LINES, LINES, STRINGS, SETS_OF_VALUES)
def test_what_was_said_comes_back(
    text: str, html: str, subject: str, values: dict[str, object]
) -> None:
    one = letter(text, html, "{{ subject }}")
    values = {**values, "subject": subject}
    message = made(one, recipient(values))
    assume(isinstance(message, WireMessage))
    assert isinstance(message, WireMessage)
    found = parsed(message)
    assert message.size == len(unstuffed(message))
    head, _, body = unstuffed(message).partition(b"\r\n\r\n")
    assert max(map(len, head.split(b"\r\n"))) <= 998
    assert max(map(len, body.split(b"\r\n"))) <= 80  # binascii forgets that it quotes a last space
    rendered = {
        "plain": template(text).render(values),
        "html": template(html, html=True).render(values) if html else "",
    }
    for kind, said in rendered.items():
        assert isinstance(said, str)
        if said:
            assert bare(content(found, kind)) == bare(said)
    assert sorted(name.lower() for name in found) == sorted(
        [
            *("from", "to", "subject", "date", "message-id", "mime-version", "content-type"),
            *("reply-to", "list-unsubscribe", "list-unsubscribe-post"),
            *([] if found.is_multipart() else ["content-transfer-encoding"]),
        ]
    )
    assert found["Subject"] == one_line(subject)
    assert found["To"] == "anna@x.test"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(SOURCES | LINES, SOURCES | LINES, FIELDS | TEXTS, SETS_OF_VALUES)
@example("One  \r\nTwo\t {{ city }} \r\n\r\n\r\n", "", "A  b\t", {"city": " x  \n\n"})
def test_signatures_hold_either_way(
    text: str, html: str, subject: str, values: dict[str, object]
) -> None:
    one = letter(text, html, subject, signer_of=signer_of)
    message, plain = made(one, recipient(values)), by_liquid(one, recipient(values))
    if not isinstance(message, WireMessage):
        assert message == plain
        return
    assert isinstance(plain, WireMessage)
    whole = unstuffed(message)
    assert whole.endswith(unstuffed(plain))
    assert whole.count(b"DKIM-Signature:") == 2
    for index in (0, 1):
        assert dkim.DKIM(whole).verify(idx=index, dnsfunc=lookup)
    # By way of Liquid the same signatures: both algorithms are deterministic.
    assert prepare(whole) == message


@pytest.mark.parametrize("foreign", [RUSSIAN_LINES, ""])
@pytest.mark.parametrize("logic", ["", "{% if city %}{% endif %}"])
def test_signatures_hold_over_both_encodings(foreign: str, logic: str) -> None:
    source = f"{logic}{foreign or ASCII_LINES}.Dear  {{{{ city }}}} \n\n\n"
    one = letter(source, f"<p>{source}", "Ты и {{ city }}", signer_of=signer_of)
    assert is_plain(one) is not bool(logic)
    message = made(one, recipient({"city": "Пермь " * 30}))
    assert isinstance(message, WireMessage)
    wanted = b"base64" if foreign else b"quoted-printable"
    assert message.stuffed.count(b"Content-Transfer-Encoding: " + wanted) == 2
    for index in (0, 1):
        assert dkim.DKIM(unstuffed(message)).verify(idx=index, dnsfunc=lookup)


def test_the_encoding_is_the_same_for_all_recipients() -> None:
    one = letter(ASCII_LINES + "{{ city }}\n", "<p>{{ city }}</p>" + RUSSIAN_LINES)
    for city in ("Perm", "Пермь" * 1000, "x=" * 5000, "\x00"):
        message = made(one, recipient({"city": city}))
        assert isinstance(message, WireMessage)
        assert message.stuffed.count(b"Encoding: quoted-printable") == 1
        assert message.stuffed.count(b"Encoding: base64") == 1


def test_the_source_alone_decides_on_the_encoding() -> None:
    assert choose_encoding(ASCII_LINES) == "quoted-printable"
    assert choose_encoding(RUSSIAN_LINES) == "base64"
    assert choose_encoding("") == "quoted-printable"


def test_a_template_as_large_as_allowed_is_sent() -> None:
    """The marks around its fields make it larger yet."""
    source = "x" * (MAX_SOURCE - 20) + "\n{{ city }}\n"
    one = letter(source, source)
    message = made(one, recipient({"city": "Perm"}))
    assert isinstance(message, WireMessage)
    assert content(parsed(message), "plain") == source.replace("{{ city }}", "Perm")


@settings(max_examples=50, deadline=None)
@given(LINES, st.lists(SETS_OF_VALUES, min_size=2, max_size=6))
def test_one_letter_knows_nothing_of_another(html: str, people: list[dict[str, object]]) -> None:
    one = letter("{{ city }}", html)
    for values in people * 2:
        assert made(one, recipient(values)) == by_liquid(one, recipient(values))


def test_a_default_has_markup_and_the_same_words_of_a_stranger_have_none() -> None:
    one = letter("Hi", "{{ city | default: '<b>Perm</b>' }} {{ city }}")
    for city in ("", "<b>Perm</b>", None, "<b>Perm</b>", Markup("<b>Perm</b>"), ""):
        assert made(one, recipient({"city": city})) == by_liquid(one, recipient({"city": city}))
    message = made(one, recipient({"city": "<b>Perm</b>"}))
    assert isinstance(message, WireMessage)
    assert "<b>" not in content(parsed(message), "html")


@pytest.mark.parametrize("lines", [ASCII_LINES, RUSSIAN_LINES])
@pytest.mark.parametrize("city", ["a\r", "\na", "a\r\n", "\x00\x1f", CUT, "\x1f\x00", "\r\r\n\n"])
def test_values_that_end_in_half_of_something(lines: str, city: str) -> None:
    one = letter(f"{lines}{{{{ city }}}}\n{{{{ city }}}}{{{{ city }}}}")
    assert is_plain(one)
    assert made(one, recipient({"city": city})) == by_liquid(one, recipient({"city": city}))


def test_our_own_addresses_take_a_shorter_way() -> None:
    url = "https://shop.test/c/AbC-_.12.0123456789abcdef"
    for text in ("See {{ _link_1 }}\n", "{{ _link_1 }}", "Смотри {{ _link_1 }}{{ city }}"):
        html, subject = '<a href="{{ _link_1 }}">{{ city }}</a>', "{{ _link_1 }}"
        short = letter(text, html, subject, plain_fields=["_link_1"])
        assert is_plain(short)
        # A field of the contact's with such a name counts for nothing.
        values = {"city": "<Perm>", "_link_1": "http://elsewhere.test"}
        to = replace(recipient(values), plain=[url.encode()])
        assert made(short, to) == by_liquid(short, to)
        usual = letter(text, html, subject)
        assert made(short, to) == made(usual, recipient(values | {"_link_1": url}))


# Headers


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(deadline=None)
@given(
    WORDS | st.just("anna@x.test"),
    WORDS.map("<{}@x.test>".format) | st.just("<1.2@x.test>"),
    WORDS.map("https://x.test/{}".format) | st.just("https://x.test/u/" + "t" * 2000),
)
@example("anna@x.test", "<1@пример.test>", "https://x.test")
@example("anna@x.test", "<1@x.test>\r\nBcc: e@x.test", "https://x.test")
@example("anna@x.test", "<1@x.test>", "https://x.test>\r\nBcc: <e@x.test")
@example("anna@x.test", "<1@x.test>", "https://x.test/é")
@example("иван@x.test", "<1@x.test>", "https://x.test")
def test_what_differs_in_the_headers_is_checked(to: str, message_id: str, url: str) -> None:
    who = recipient({"city": "Perm"}, to=to, message_id=message_id, unsubscribe_url=url)
    one = letter("{{ city }}")
    assert is_plain(one)
    assert made(one, who) == by_liquid(one, who)


@pytest.mark.parametrize(
    ("from_mailbox", "reply_to"),
    [
        (format_mailbox("Магазин", "news@shop.test"), "help@shop.test"),
        (format_mailbox("", "новости@shop.test"), "help@shop.test"),
        ("news@shop.test", format_mailbox("", "помощь@shop.test")),
        (format_mailbox("A very long name of a shop " * 5, "news@shop.test"), "help@shop.test"),
    ],
)
def test_senders_beyond_ascii(from_mailbox: str, reply_to: str) -> None:
    """A header that is not ASCII takes SMTPUTF8, which the message says."""
    one = letter(
        "{{ city }}\n", from_mailbox=from_mailbox, headers=(("Reply-To", reply_to),), html="<p>x"
    )
    message = made(one, recipient({"city": "Perm"}))
    assert isinstance(message, WireMessage)
    assert message == by_liquid(one, recipient({"city": "Perm"}))
    assert message.utf8 == (not message.stuffed.isascii())


@pytest.mark.parametrize("bad", ["\r\nBcc: e@x.test", "\n", "\r", "\0", "\x85", "\u2028"])
def test_no_header_of_all_letters_takes_a_line_break(bad: str) -> None:
    with pytest.raises(ValueError, match="control"):
        letter(from_mailbox=f"news{bad}@shop.test")
    with pytest.raises(ValueError, match="control"):
        letter(headers=(("Reply-To", f"a{bad}@x.test"),))


def test_an_unsubscribe_header_is_there_when_asked_for() -> None:
    for logic in ("", "{% if city %}{% endif %}"):
        message = made(letter(logic + "Hi", list_unsubscribe=False), recipient())
        assert isinstance(message, WireMessage)
        assert parsed(message)["List-Unsubscribe"] is None
        message = made(letter(logic + "Hi"), recipient())
        assert isinstance(message, WireMessage)
        assert parsed(message)["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@settings(deadline=None)
@given(
    st.integers(0, 950).map(lambda length: "https://x.test/"[:length] + "t" * (length - 15)),
    st.sampled_from(("", "u@x.t", "unsubscribe+0abc@in.shop.test", "Анна@x.test", "a b@x.test"))
    | st.integers(1, 60).map(lambda length: "u" * length + "@in.test"),
    st.booleans(),
)
def test_two_ways_out_are_folded_and_signed_alike(url: str, address: str, logic: bool) -> None:
    one = letter("Hi {{ city }}" + "{% if city %}{% endif %}" * logic, signer_of=signer_of)
    to = recipient(unsubscribe_url=url, unsubscribe_email=address)
    message, plain = made(one, to), by_liquid(one, to)
    assert isinstance(message, WireMessage) == isinstance(plain, WireMessage)
    if isinstance(message, WireMessage) and isinstance(plain, WireMessage):
        assert unstuffed(message).endswith(unstuffed(plain))
        assert dkim.DKIM(unstuffed(message)).verify(dnsfunc=lookup)
        if address.isascii():
            expected = f"<{url}>, <mailto:{address}>" if address else f"<{url}>"
            assert parsed(message)["List-Unsubscribe"] == expected


def test_a_lone_surrogate_fits_no_letter() -> None:
    for text, subject in (("{{ city }}", "News"), ("Hi", "{{ city }}")):
        assert made(letter(text, subject=subject), recipient({"city": "\ud800"})) is ValueError


# Which templates are plain


@pytest.mark.parametrize(
    "source",
    [
        "{{ a | upcase }}",
        "{{ a | default: b }}",
        "{{ a | default: 'x' | upcase }}",
        "{{ a | default: 'x', allow_false: true }}",
        "{{ a.b }}",
        "{{ a[0] }}",
        "{{ 'a' }}",
        "{{ 1 }}",
        "{{- a }}",
        "{{ a -}}",
        "{% if a %}{% endif %}",
        "{% raw %}{{ a }}{% endraw %}",
        "{% comment %}{{ a }}{% endcomment %}",
        "{{ true }}",
        "{{ nil }}",
        "{{ empty }}",
        "{{ blank }}",
        "{{ now }}",
        "{{ today }}",
    ],
)
def test_logic_is_left_to_liquid(source: str) -> None:
    assert plain_slots(f"<p>{source}</p>") is None
    assert not is_plain(letter(source))


def test_plain_fields_are_found() -> None:
    assert plain_slots("") == [""]
    assert plain_slots("a { b } %}") == ["a { b } %}"]
    assert plain_slots("{{a}}{{ b | default: \"c d\" }}!\n{{ e|default:'' }}") == [
        *("", Slot("a"), "", Slot("b", "c d"), "!\n", Slot("e", ""), "")
    ]


FRAGMENTS = st.one_of(
    FIELDS,
    st.sampled_from(
        (
            *("{", "{{", "}", "}}", "{%", "%}", "-", "{{-", "-}}", "{#", "#}", " ", "\n", "|"),
            *("'", '"', "raw", "endraw", "comment", "city", "true", "{{ true }}", "{{ nil }}"),
            *("default", ":", "{% raw %}", "{% endraw %}", "{% if city %}", "{% endif %}", "\\"),
            *("{{ city.size }}", "{{ city | upcase }}", "{{ 'x' }}", "{{ forloop }}", "{{ cols }}"),
            *("{{ and }}", "{{ contains }}", "{{ limit }}", "{{ self }}", "{{\u00a0city }}"),
        )
    ),
    st.text(max_size=5),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(FRAGMENTS, max_size=12).map("".join), SETS_OF_VALUES, st.booleans())
def test_plain_means_what_liquid_means(source: str, values: dict[str, object], html: bool) -> None:
    compiled = compile_template(source, html=html)
    slots = plain_slots(source)
    if not isinstance(compiled, Template) or slots is None:
        return
    strings = {name: value for name, value in values.items() if isinstance(value, str | None)}
    shown = ""
    for piece in slots:
        if isinstance(piece, str):
            shown += piece
        else:
            value = strings.get(piece.name)
            shown += str(escape(value) if html and value else value or piece.default or "")
    assert bare(str(compiled.render(strings))) == bare(shown)
