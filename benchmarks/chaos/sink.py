"""The oracle: a strict SMTP server that writes down what it got before it answers.

`python -m benchmarks.chaos.sink --log FILE --plan FILE` prints its port and serves loopback
until it is ended. The plan is JSON, `{"pace": letters a second, "rules": [Rule, …]}`, and is read
again on SIGHUP. Each line of the log: seconds of the machine's monotonic clock, stage,
Message-ID, recipient, Subject, detail, parted by tabs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

COMMAND_PLACES = ("banner", "ehlo", "mail", "rcpt", "data")
# Where a connection can be cut between 354 and the end of the reply to the letter.
BEFORE_THE_DOT = ("after-354", "first-byte", "headers", "body", "before-dot")
AFTER_THE_DOT = ("after-dot", "reply")
PLACES = (*COMMAND_PLACES, *BEFORE_THE_DOT, "dot", *AFTER_THE_DOT)

_LONGEST_COMMAND = 512 + 34  # RFC 5321 section 4.5.3.1.4, and what SIZE, BODY and SMTPUTF8 add
_LONGEST_LINE = 998 + 2
_END = b"\r\n.\r\n"
_EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 20971520")
_MAIL = re.compile(rb"MAIL FROM:<([^<>\s]*)>((?: [A-Z0-9]+(?:=[!-<>-~]+)?)*)", re.I)
_RCPT = re.compile(rb"RCPT TO:<([^<>\s]+@[^<>\s]+)>", re.I)
_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t]*(<[^>\r\n]+>)\r$", re.I | re.M)
_SUBJECT = re.compile(rb"^Subject:[ \t]*([^\r\n]*)\r$", re.I | re.M)


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do at a place: a reply code (421 closes), "drop", or at the dot "silent".

    For `share` of the recipients, at the first `times` of their attempts. Before a recipient is
    known, for `share` of the connections or transactions.
    """

    at: str
    do: str
    share: float = 1.0
    times: int = 1

    def __post_init__(self) -> None:
        if self.do == "drop":
            fits = self.at in PLACES and self.at != "dot"
        elif self.do == "silent":
            fits = self.at == "dot"
        else:
            refused = re.fullmatch("[45][0-9][0-9]", self.do) is not None
            fits = refused and self.at in (*COMMAND_PLACES, "dot")
        if not fits:
            raise ValueError(f"no such misbehaviour: {self.do} at {self.at}")


class World:
    """What all sessions share: the log, the plan, and whom it has been applied to."""

    def __init__(self, log: Path, plan: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._plan = plan
        self._applied: Counter[tuple[int, str]] = Counter()
        self._random = random.Random(1)
        self._next_reply = 0.0
        self.read_plan()

    def read_plan(self) -> None:
        plan = json.loads(self._plan.read_text())
        self.rules = [Rule(**rule) for rule in plan.get("rules", ())]
        self._seconds_a_letter = 1 / plan["pace"] if plan.get("pace") else 0.0
        self._applied.clear()

    def note(self, lines: list[str]) -> None:
        if lines:
            os.write(self._log, "".join(lines).encode())
            lines.clear()

    def rule(self, places: tuple[str, ...], recipient: str) -> Rule | None:
        """The rule to be followed now, which counts as one of its times."""
        for number, rule in enumerate(self.rules):
            if rule.at not in places:
                continue
            if not recipient:
                if self._random.random() < rule.share:
                    return rule
            elif (
                zlib.crc32(f"{number} {recipient}".encode()) < rule.share * 2**32
                and self._applied[number, recipient] < rule.times
            ):
                self._applied[number, recipient] += 1
                return rule
        return None

    def delay(self) -> float:
        """Seconds until the next reply to a letter may leave, at the plan's pace."""
        now = time.monotonic()
        self._next_reply = max(now, self._next_reply + self._seconds_a_letter)
        return self._next_reply - now


class Session(asyncio.Protocol):
    """One connection. Everything that was read is noted before anything is written."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read = bytearray()
        self._notes: list[str] = []
        self._replies = bytearray()
        self._closing = False
        self._busy = False  # a reply is being held back
        self._greeted = False
        self._reset()

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipient = self._message_id = self._label = ""
        self._parameters: list[bytes] = []
        self._in_data = False
        self._cut: Rule | None = None
        self._partial = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class
        if not self._misbehaves("banner"):
            self._reply("220 sink.test ESMTP")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._in_data and self._partial:
            self._note("lost", "by the client")
        self._world.note(self._notes)

    def data_received(self, data: bytes) -> None:
        self._read += data
        self._work()

    def _work(self) -> None:
        while not (self._closing or self._busy):
            if not (self._take_letter() if self._in_data else self._take_command()):
                break
        self._flush()

    # What is written, in this order: the log, the replies.

    def _note(self, stage: str, detail: str = "", recipient: str = "") -> None:
        to = recipient or self._recipient
        fields = (f"{time.monotonic():.6f}", stage, self._message_id, to, self._label, detail)
        self._notes.append("\t".join(fields) + "\n")

    def _reply(self, text: str) -> None:
        self._replies += text.encode() + b"\r\n"

    def _flush(self) -> None:
        self._world.note(self._notes)
        if self._replies:
            self._transport.write(bytes(self._replies))
            self._replies.clear()
        if self._closing:
            self._transport.close()

    def _end(self) -> None:
        """Close once what was said is written."""
        self._closing = True

    def _drop(self, rule: Rule, detail: str = "", recipient: str = "") -> None:
        """Cut the connection; replies to what came before still leave."""
        self._note("dropped", f"{rule.at} {detail}".rstrip(), recipient)
        self._end()

    def _misbehaves(self, place: str, recipient: str = "") -> bool:
        rule = self._world.rule((place,), recipient)
        if rule is None:
            return False
        if rule.do == "drop":
            self._drop(rule, recipient=recipient)
            return True
        self._note("refused", f"{place} {rule.do}", recipient)
        status = "1.1" if place == "rcpt" else "3.0"
        self._reply(f"{rule.do} {rule.do[0]}.{status} {place} is refused on purpose")
        if rule.do == "421" or place == "banner":
            self._end()
        return True

    def _fault(self, text: str) -> None:
        """The client broke a rule of SMTP: noted, and the end of the session."""
        self._note("fault", text)
        self._reply(f"500 5.5.2 {text}")
        self._end()

    # Commands.

    def _take_command(self) -> bool:
        """Answer the next command; False where none is complete."""
        end = self._read.find(b"\n")
        if end < 0 and len(self._read) <= _LONGEST_COMMAND:
            return False
        line = bytes(self._read[: end + 1])
        del self._read[: end + 1]
        if end < 0 or len(line) > _LONGEST_COMMAND:
            self._fault("command line too long")
        elif not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            self._fault("bare CR, LF or NUL in a command")
        else:
            self._answer(line[:-2])
        return True

    def _answer(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb in (b"EHLO", b"HELO"):
            self._greet(verb, line)
        elif verb == b"MAIL":
            self._mail(line)
        elif verb == b"RCPT":
            self._rcpt(line)
        elif line.upper() == b"DATA":
            self._data()
        elif line.upper() == b"RSET":
            self._reset()
            self._reply("250 2.0.0 ok")
        elif verb == b"NOOP":
            self._reply("250 2.0.0 ok")
        elif line.upper() == b"QUIT":
            self._reply("221 2.0.0 bye")
            self._end()
        else:
            self._fault("no such command")

    def _greet(self, verb: bytes, line: bytes) -> None:
        if not re.fullmatch(rb"(EHLO|HELO) [!-~]+", line, re.I):
            self._fault("a greeting without a name")
        elif not self._misbehaves("ehlo"):
            self._reset()
            self._greeted = True
            lines = ("sink.test", *_EXTENSIONS) if verb == b"EHLO" else ("sink.test",)
            for text in lines[:-1]:
                self._reply(f"250-{text}")
            self._reply(f"250 {lines[-1]}")

    def _mail(self, line: bytes) -> None:
        found = _MAIL.fullmatch(line)
        if found is None:
            self._fault("MAIL that is not of its form")
            return
        if not self._greeted or self._sender is not None:
            self._reply("503 5.5.1 not now")
            return
        # For whom the letter is, where the client says it in the same breath.
        ahead = _RCPT.match(self._read)
        if not self._misbehaves("mail", ahead[1].decode() if ahead else ""):
            self._sender = found[1].decode()
            self._parameters = found[2].upper().split()
            self._note("mail")
            self._reply("250 2.1.0 ok")

    def _rcpt(self, line: bytes) -> None:
        found = _RCPT.fullmatch(line)
        if found is None:
            self._fault("RCPT that is not of its form")
        elif self._sender is None:
            self._reply("503 5.5.1 MAIL first")
        elif self._recipient:
            self._reply("452 4.5.3 one recipient at a time")
        elif not self._misbehaves("rcpt", found[1].decode()):
            self._recipient = found[1].decode()
            self._note("rcpt")
            self._reply("250 2.1.5 ok")

    def _data(self) -> None:
        if not self._recipient:
            self._reply("503 5.5.1 RCPT first")
            return
        if self._misbehaves("data", self._recipient):
            return
        self._note("data")
        self._reply("354 go on")
        self._in_data = True
        self._cut = self._world.rule((*BEFORE_THE_DOT, *AFTER_THE_DOT), self._recipient)
        if self._cut and self._cut.at == "after-354":
            self._drop(self._cut)

    # The letter.

    def _take_letter(self) -> bool:
        """Answer the letter once its end is there; False before."""
        if not self._read:
            return False
        empty = self._read.startswith(_END[2:])
        end = -2 if empty else self._read.find(_END)
        if self._cut and self._cut.at in BEFORE_THE_DOT and self._is_at(self._cut.at, end):
            self._drop(self._cut, "its end had come" if end != -1 else "")
            return False
        if end == -1:
            if not self._partial:
                self._partial = True
                self._note("partial-body")
            return False
        letter = bytes(self._read[: end + 2])
        del self._read[: end + len(_END)]
        self._in_data = False
        self._judge(letter)
        return True

    def _is_at(self, place: str, end: int) -> bool:
        if place == "first-byte" or end != -1:
            return True
        headers = self._read.find(b"\r\n\r\n")
        if place == "headers":
            return headers < 0 or len(self._read) > 100
        if place == "body":
            return headers >= 0 and len(self._read) > headers + 100
        return headers >= 0 and self._read.endswith(b"\r\n")

    def _judge(self, letter: bytes) -> None:
        headers = letter.partition(b"\r\n\r\n")[0] + b"\r\n"
        message_id, label = _MESSAGE_ID.search(headers), _SUBJECT.search(headers)
        self._message_id = message_id[1].decode() if message_id else ""
        self._label = label[1].decode(errors="replace").replace("\t", " ") if label else ""
        if fault := self._fault_of(letter, headers):
            self._note("fault", fault)
            self._reply(f"554 5.6.0 {fault}")
            self._reset()
            return
        rule = self._world.rule(("dot",), self._recipient)
        if rule and rule.do != "silent":
            self._note("refused", f"dot {rule.do}")
            self._reply(f"{rule.do} {rule.do[0]}.3.0 the letter is refused on purpose")
            if rule.do == "421":
                self._end()
            self._reset()
            return
        self._note("accepted-before-reply")
        if rule:
            self._note("silent")
            self._busy = True
        elif self._cut:
            if self._cut.at == "reply":
                self._replies += b"25"
            self._drop(self._cut)
        elif (delay := self._world.delay()) > 0:
            self._busy = True
            asyncio.get_running_loop().call_later(delay, self._go_on)
        else:
            self._accept()

    def _accept(self) -> None:
        self._reply("250 2.0.0 accepted")
        self._flush()
        self._note("replied")
        self._reset()

    def _go_on(self) -> None:
        """After a pause: the reply, then what was read meanwhile."""
        if not self._closing:
            self._busy = False
            self._accept()
            self._work()

    def _fault_of(self, letter: bytes, headers: bytes) -> str:
        if not self._message_id:
            return "no Message-ID"
        line_ends = letter.count(b"\r\n")
        if letter.count(b"\r") != line_ends or letter.count(b"\n") != line_ends:
            return "bare CR or LF"
        if b"\0" in letter:
            return "NUL"
        stuffed = b"\r\n" + letter
        if stuffed.count(b"\r\n.") != stuffed.count(b"\r\n.."):
            return "a dot that opens a line is not doubled"
        if max(map(len, letter.split(b"\r\n"))) > _LONGEST_LINE - 2:
            return "line too long"
        if not letter.isascii() and b"BODY=8BITMIME" not in self._parameters:
            return "8 bits without BODY=8BITMIME"
        if not headers.isascii() and b"SMTPUTF8" not in self._parameters:
            return "8 bits in headers without SMTPUTF8"
        return ""


async def serve(world: World) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(world), "127.0.0.1", 0, backlog=1024)
    loop.add_signal_handler(signal.SIGHUP, world.read_plan)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.sink", description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--plan", type=Path, required=True)
    options = parser.parse_args()
    uvloop.run(serve(World(options.log, options.plan)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
