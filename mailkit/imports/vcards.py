"""Records of a vCard file (RFC 6350, RFC 2426, and the older vCard 2.1 of phones)."""

from __future__ import annotations

import itertools
import quopri
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from .lines import Line, Record, TextLines
from .table import MAX_LINE

BATCH = 1000
HEADERS = (
    "Email",
    "First name",
    "Last name",
    "Full name",
    "Phone",
    "Organization",
    "Title",
    "Birthday",
    "Tags",
    "Email 2",
    "Email 3",
    "Phone 2",
)

_PROPERTY = re.compile(r'((?:[^":]|"[^"]*")*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';((?:[^";]|"[^"]*")*)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:T.*)?")


class Property(NamedTuple):
    """One line of a card: `item1.EMAIL;TYPE=work:a@x.test`."""

    name: str
    parameters: str
    value: str


def card_batches(lines: TextLines) -> Iterator[list[Record]]:
    """A record under `HEADERS` for each card, with the line of its BEGIN."""
    found = _cards(lines)
    while batch := list(itertools.islice(found, BATCH)):
        yield batch


def _cards(lines: TextLines) -> Iterator[Record]:
    card: list[Property] | None = None
    begun, fault, size = 0, None, 0
    for line in _unfolded(lines):
        word = line.text.strip().upper()
        if word == "BEGIN:VCARD":
            if card is not None:  # its END is missing
                yield _record(begun, card, fault)
            card, begun, fault, size = [], line.number, line.fault, 0
        elif card is None:
            continue
        elif word == "END:VCARD":
            yield _record(begun, card, fault)
            card = None
        else:
            fault = fault or line.fault
            size += len(line.text)
            if size <= MAX_LINE and (found := _property(line.text)):
                card.append(found)
    if card is not None:
        yield _record(begun, card, fault)


def _unfolded(lines: TextLines) -> Iterator[Line]:
    """Logical lines: a line that begins with white space goes on with the one before."""
    number, fault, size, quoted = 0, None, 0, False
    parts: list[str] = []
    while (line := lines.next()) is not None:
        text = line.text.rstrip("\r\n")
        if parts and text.startswith((" ", "\t")):
            text = text[1:]
        elif quoted and parts and parts[-1].endswith("="):
            # Quoted-printable lines of vCard 2.1 end with a soft break and are not indented.
            parts[-1] = parts[-1][:-1]
        else:
            if parts:
                yield Line(number, "".join(parts), fault)
            number, fault, size, parts = line.number, None, 0, []
            quoted = "QUOTED-PRINTABLE" in text.partition(":")[0].upper()
        fault = fault or line.fault
        size += len(text)
        if size <= MAX_LINE or not parts:  # beyond that it is a photo, which nobody needs
            parts.append(text)
    if parts:
        yield Line(number, "".join(parts), fault)


def _property(text: str) -> Property | None:
    found = _PROPERTY.fullmatch(text)
    if found is None:
        return None
    head, value = found[1], found[2]
    name = head.partition(";")[0].rpartition(".")[2].strip().upper()
    parameters = ";".join(_PARAMETER.findall(head)).upper()
    if "QUOTED-PRINTABLE" in parameters:
        charset = re.search(r"CHARSET=\"?([\w-]+)", parameters)
        value = _decoded(value, charset[1] if charset else "utf-8")
    return Property(name, parameters, value)


def _decoded(value: str, charset: str) -> str:
    data = quopri.decodestring(value.encode("utf-8", "replace"))
    try:
        text = data.decode(charset, "replace")
    except LookupError:
        text = data.decode("utf-8", "replace")
    return text.replace("\0", " ")


def _record(line: int, card: list[Property], fault: str | None) -> Record:
    values: defaultdict[str, list[str]] = defaultdict(list)
    for name, parameters, value in card:
        if name == "N":
            last, first = (_parts(value, ";") + ["", ""])[:2]
            values["last"].append(last)
            values["first"].append(first)
        elif name in ("ORG", "CATEGORIES"):
            parts = _parts(value, ";" if name == "ORG" else ",")
            values[name].append(", ".join(filter(None, parts)))
        else:
            text = _unescaped(value).strip()
            if name in ("EMAIL", "TEL"):
                text = re.sub(r"^(?:mailto|tel):", "", text, flags=re.IGNORECASE)
            preferred = re.search(r"\bPREF\b", parameters) is not None
            values[name].insert(0 if preferred else len(values[name]), text)
    full = _first(values["FN"])
    first = _first(values["first"])
    emails, phones = values["EMAIL"] + ["", "", ""], values["TEL"] + ["", ""]
    return Record(
        line,
        [
            emails[0],
            # Without a structured name the full one is better than nothing.
            first if first or _first(values["last"]) else full,
            _first(values["last"]),
            full,
            phones[0],
            _first(values["ORG"]),
            _first(values["TITLE"]),
            _day(_first(values["BDAY"])),
            ", ".join(filter(None, values["CATEGORIES"])),
            emails[1],
            emails[2],
            phones[1],
        ],
        fault,
    )


def _first(found: list[str]) -> str:
    return next(filter(None, found), "")


def _parts(value: str, separator: str) -> list[str]:
    """The components of a structured value; a separator may be escaped."""
    return [_unescaped(part).strip() for part in re.split(rf"(?<!\\){separator}", value)]


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)


def _day(value: str) -> str:
    """`19850412` and `1985-04-12T00:00:00Z` as 1985-04-12; a day without a year as it stands."""
    found = _DAY.fullmatch(value)
    return "-".join(found.groups()) if found else value
