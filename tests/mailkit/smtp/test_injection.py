"""What strangers and authors write becomes text of a letter, never a header, a recipient, a command
or another letter: over a real connection, against a server that reads strictly."""

from __future__ import annotations

import email
import email.policy
import random
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import uvloop

from mailkit.addresses import format_mailbox
from mailkit.dkim import DkimKey, Signer, generate_key
from mailkit.personalize import RenderFault, Template, compile_template
from mailkit.smtp.connection import Connection
from mailkit.smtp.message import WireMessage
from mailkit.smtp.outcomes import Accepted, Broken, Refused
from mailkit.splice import CompiledLetter, Recipient

from .strict_sink import StrictSink

CASES, CAMPAIGNS = 100_000, 400
AT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)
KEY = DkimKey("shop.test", "e", "ed25519-sha256", generate_key("ed25519-sha256")[0])
BREAKS = ("\r\n", "\n", "\r", "\0", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\r\r\n")
ATTACKS = (
    *("\r\n.\r\n", "\n.\n", "\r.\r", "\r\n.\n", "\n.\r\n", "\0.\0", "\r\n\r\n", "\n\n", ".", ".."),
    *("\r\nRCPT TO:<x@evil.test>\r\n", "\r\n.\r\nMAIL FROM:<x@evil.test>\r\nRCPT TO:<y@evil.test>"),
    *("\nBcc: x@evil.test", "\r\nBcc: x@evil.test", "\r\n Bcc: x", "\x85Bcc: x", "\u2028Bcc: x"),
    *("\r\nSubject: other\r\n\r\nother", "\r\nContent-Type: text/html", ">\r\nDATA\r\n", "Bcc: x"),
    *("=?utf-8?b?DQpCY2M6IHg=?=", "=0D=0A.=0D=0A", "=\r\n", "--=_", "\r\n--=_0--\r\n", "<>", '"'),
    *(
        "{{ city }}",
        "{% if",
        "%s%(x)s",
        "x" * 1100,
        "é" * 500,
        " " * 200,
        "🌱" * 50,
        "\x00\x1f\x00",
    ),
    *("<script>", "&", "\\", "\\r\\n", "\ud800", "\t\t", "", "a,b;c", "(a)", "x@y>,<z@evil.test"),
)
ONCE = [
    *("content-type", "date", "from", "list-unsubscribe", "list-unsubscribe-post", "message-id"),
    *("mime-version", "subject", "to"),
]
_NAME = re.compile(rb"([!-9;-~]+): ?[^\r\n\0]*")
_MESSAGE_ID = re.compile(rb"\r\nMessage-ID: <([0-9]+)@shop\.test>\r\n")


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    number: int
    recipient: str
    message: WireMessage
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Campaign:
    letter: CompiledLetter
    header_names: list[str]


class Group:
    def __init__(self, letters: Iterator[Letter]) -> None:
        self.queue = deque(letters)
        self.outcomes: dict[Letter, Accepted | Refused | Broken] = {}

    @property
    def waiting(self) -> bool:
        return bool(self.queue)

    def take(self) -> Letter | None:
        return self.queue.popleft() if self.queue else None

    def settle(self, letter: Letter, outcome: Accepted | Refused | Broken) -> None:
        assert letter not in self.outcomes
        self.outcomes[letter] = outcome

    def put_back(self, letter: Letter) -> None:
        raise AssertionError("the connection ended")


class Attacker:
    """Writes hostile things, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.refused: Counter[str] = Counter()

    def text(self) -> str:
        chosen = self.random.choices((*ATTACKS, *BREAKS, "Anna", "Пермь", " "), k=2)
        return "".join(chosen[: self.random.randint(1, 2)])

    def about(self, good: str) -> str:
        """A good value, mostly with something in it that does not belong there."""
        place = self.random.randint(0, len(good))
        return good[:place] + self.text() + good[place:] if self.random.random() < 0.7 else good

    def source(self, *, html: bool) -> str:
        fields = ("{{ city }}", "{{ name | default: 'you' }}", "{{ url }}", "\n", "\r\n", "<p>")
        pieces = [
            self.text().replace("{", "(") if self.random.random() < 0.5 else piece
            for piece in self.random.choices(fields, k=self.random.randint(2, 8))
        ]
        logic = "{% if city %}.{{ city | upcase }}{% endif %}" if self.random.random() < 0.1 else ""
        foreign = "Все новости недели.\n" * (20 if self.random.random() < 0.3 else 0)
        return ("<p>" if html else "") + foreign + logic + "".join(pieces)

    def campaign(self) -> Campaign:
        """One that can be made; the names and headers that are refused are counted."""
        while True:
            extra = {
                name: self.about(value)
                for name, value in (
                    ("Reply-To", "help@shop.test"),
                    ("List-Id", "News <news.shop.test>"),
                    ("Feedback-ID", "1:2:shop"),
                )
                if self.random.random() < 0.3
            }
            html = self.random.random() < 0.7
            try:
                letter = CompiledLetter(
                    from_mailbox=format_mailbox(self.about("Shop"), "news@shop.test")
                    if self.random.random() < 0.8
                    else self.about("news@shop.test"),
                    subject=template(self.source(html=False)),
                    html=template(self.source(html=True), html=True) if html else None,
                    text=template("{{ text }}" + self.source(html=False)),
                    headers=tuple(extra.items()),
                    signer_of=lambda names: (
                        Signer([KEY], names) if self.random.random() < 0.2 else None
                    ),
                )
                # Where it is not refused at once, a header is refused in each letter.
                letter.general(self.recipient(0, "a@x.test", "Hi"), AT)
            except ValueError:
                self.refused["campaign"] += 1
                continue
            signed = ["dkim-signature"] if letter._signer else []
            return Campaign(letter, sorted([*ONCE, *map(str.lower, extra), *signed]))

    def recipient(self, number: int, to: str, text: str | None = None) -> Recipient:
        values = {name: self.text() for name in ("city", "name", "url")}
        return Recipient(
            to=to,
            message_id=f"<{number}@shop.test>",
            unsubscribe_url=f"https://shop.test/u/{number}",
            values={**values, "text": self.text() if text is None else text},
        )

    def letters(self, campaign: Campaign, numbers: range) -> Iterator[Letter]:
        for number in numbers:
            good = f"r{number}@x.test"
            to = self.about(good) if self.random.random() < 0.1 else good
            try:
                message = campaign.letter.make(self.recipient(number, to), AT)
            except ValueError:
                self.refused["letter"] += 1
                continue
            if isinstance(message, RenderFault):
                self.refused["letter"] += 1
                continue
            yield Letter(number, self.about(good) if self.random.random() < 0.1 else to, message)


def template(source: str, *, html: bool = False) -> Template:
    compiled = compile_template(source, html=html)
    if not isinstance(compiled, Template):
        raise ValueError("not a template")
    return compiled


def header_names(message: bytes) -> list[str]:
    """Of the lines that open a header; a line that is none, and none of its rest, is named too."""
    head, _, _ = message.partition(b"\r\n\r\n")
    names = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and line.strip():
            continue
        found = _NAME.fullmatch(line)
        names.append(found[1].decode().lower() if found else repr(line))
    # A single part has its encoding among the headers.
    return sorted(name for name in names if name != "content-transfer-encoding")


def test_nothing_can_be_smuggled_through_a_letter() -> None:
    attacker, sink = Attacker(20261121), StrictSink()
    per_campaign = CASES // CAMPAIGNS

    async def go() -> None:
        endpoint = await sink.start()
        opened = await Connection.open(endpoint)
        assert isinstance(opened, Connection)
        for first in range(1, CASES + 1, per_campaign):
            campaign = attacker.campaign()
            group = Group(attacker.letters(campaign, range(first, first + per_campaign)))
            expected = len(group.queue)
            await opened.send_each("s@s.example", group, limit=10**9, hold=lambda: 0.0)
            assert len(group.outcomes) == expected
            check(campaign, group)
            sink.letters.clear()
        await opened.close()
        sink.stop()

    def check(campaign: Campaign, group: Group) -> None:
        assert not sink.faults, sink.faults[:3]
        accepted = {
            letter.number: letter
            for letter, outcome in group.outcomes.items()
            if isinstance(outcome, Accepted)
        }
        for outcome in group.outcomes.values():  # an address that no command takes
            if not isinstance(outcome, Accepted):
                assert isinstance(outcome, Broken)
                assert (outcome.error, outcome.after_dot) == ("stopped", False)
                attacker.refused["address"] += 1
        assert len(sink.letters) == len(accepted)
        for place, (recipient, message) in enumerate(sink.letters):
            found = _MESSAGE_ID.search(message)
            assert found
            letter = accepted.pop(int(found[1]))
            assert recipient == letter.recipient.encode()
            assert header_names(message) == campaign.header_names
            assert len(message) == letter.message.size
            if place == 0:
                check_parts(message)
        assert not accepted

    uvloop.run(go())  # as the service does
    sent = CASES - attacker.refused["letter"] - attacker.refused["address"]
    assert sink.verbs == {b"EHLO": 1, b"MAIL": sent, b"RCPT": sent, b"DATA": sent, b"QUIT": 1}
    assert sent > CASES / 2
    assert attacker.refused["campaign"] > CAMPAIGNS / 10
    assert attacker.refused["address"] > CASES / 100


def check_parts(message: bytes) -> None:
    """As the standard library reads it: what is expected and nothing else."""
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    parts = [part for part in parsed.walk() if not part.is_multipart()]
    kinds = [part.get_content_type() for part in parts]
    assert kinds in (["text/plain"], ["text/html"], ["text/plain", "text/html"])
    for part in parts:
        assert not part.defects
        assert part["Content-Transfer-Encoding"] in ("quoted-printable", "base64")
        assert len(part) >= 2
