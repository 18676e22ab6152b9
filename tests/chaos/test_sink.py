"""The oracle itself: strict, and everything is on record before it is answered."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.chaos.oracle import Judgement, Record, Row
from benchmarks.chaos.scene import Sink
from benchmarks.chaos.sink import BEFORE_THE_DOT, Rule

OPENING = b"EHLO test\r\nMAIL FROM:<a@x.test> BODY=8BITMIME\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
LETTER = b"Message-ID: <1@x.test>\r\nSubject: one\r\n\r\n" + b"text\r\n" * 60
END = b".\r\n"

OpenSink = Callable[..., Sink]


@pytest.fixture
def sink_of(tmp_path: Path) -> Iterator[OpenSink]:
    opened: list[Sink] = []

    def open_sink(*rules: dict[str, Any], **plan: Any) -> Sink:
        sink = Sink(tmp_path / f"{len(opened)}", plan | {"rules": rules})
        opened.append(sink)
        return sink

    yield open_sink
    for sink in opened:
        sink.stop()


@pytest.fixture
def sink(sink_of: OpenSink) -> Sink:
    return sink_of()


def say(sink: Sink, *parts: bytes, until: bytes = b"221 ") -> bytes:
    """What the sink answers until it closes, or until a reply that holds `until`."""
    with socket.create_connection(("127.0.0.1", sink.port), 10) as connection:
        heard = b""
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up in the middle; what it said before can still be read
        try:
            while until not in heard and (more := connection.recv(4096)):
                heard += more
        except ConnectionResetError:
            pass
        return heard


def codes(heard: bytes) -> list[int]:
    return [int(line[:3]) for line in heard.splitlines() if line[3:4] == b" "]


def stages(sink: Sink) -> list[str]:
    return [line.split("\t")[1] for line in sink.log.read_text().splitlines()]


def test_a_letter_leaves_its_stages(sink_of: OpenSink) -> None:
    sink = sink_of()

    heard = say(sink, OPENING + LETTER, END, b"QUIT\r\n")

    assert codes(heard) == [220, 250, 250, 250, 354, 250, 221]
    noted = stages(sink)
    assert [stage for stage in noted if stage != "partial-body"] == [
        "mail", "rcpt", "data", "accepted-before-reply", "replied",
    ]  # fmt: skip
    assert Record.read(sink.log).accepted == {"one": {"b@x.test": ["<1@x.test>"]}}


def test_it_is_on_record_before_the_reply(sink_of: OpenSink) -> None:
    sink = sink_of({"at": "dot", "do": "silent"})
    with socket.create_connection(("127.0.0.1", sink.port), 10) as connection:
        connection.sendall(OPENING + LETTER)
        heard = b""
        while b"354" not in heard:
            heard += connection.recv(4096)
        # No reply to the letter will ever come; what answered 354 has noted all before it.
        assert {"mail", "rcpt", "data"} <= set(stages(sink))
        connection.sendall(END)
        while "silent" not in stages(sink):
            pass
        connection.settimeout(0)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
    record = Record.read(sink.log)
    assert record.unanswered.total() == 1
    assert record.accepted == {"one": {"b@x.test": ["<1@x.test>"]}}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"one\ntwo\r\n", "bare CR or LF"),
        (b"one\rtwo\r\n", "bare CR or LF"),
        (b"one\0two\r\n", "NUL"),
        (b".one\r\n", "a dot that opens a line is not doubled"),
        (b"x" * 999 + b"\r\n", "line too long"),
    ],
)
def test_faulty_letters(sink_of: OpenSink, body: bytes, fault: str) -> None:
    sink = sink_of()

    heard = say(sink, OPENING + LETTER + body + END + b"QUIT\r\n")

    assert codes(heard)[-2:] == [554, 221]
    record = Record.read(sink.log)
    assert record.faults == [f"{fault} (b@x.test)"]
    assert not record.accepted


def test_eight_bits_have_to_be_announced(sink_of: OpenSink) -> None:
    sink = sink_of()
    plain = OPENING.replace(b" BODY=8BITMIME", b"")
    header = LETTER.replace(b"Subject: one", "Subject: один".encode())

    assert 554 in codes(say(sink, plain + LETTER + "да\r\n".encode() + END + b"QUIT\r\n"))
    assert 554 in codes(say(sink, OPENING + header + END + b"QUIT\r\n"))
    assert 554 not in codes(say(sink, OPENING + LETTER + "да\r\n".encode() + END + b"QUIT\r\n"))


@pytest.mark.parametrize(
    "command",
    [
        b"EHLO test\nMAIL FROM:<a@x.test>\r\n",
        b"EHLO test\r\nMAIL FROM:<a@x.test>\rRCPT TO:<b@x.test>\r\n",
        b"EHLO test\r\nMAIL FROM: <a@x.test>\r\n",
        b"EHLO test\r\nMAIL FROM:<a@x.test> <b@x.test>\r\n",
        b"EHLO test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<>\r\n",
        b"EHLO " + b"x" * 600 + b"\r\n",
        b"EHLO\r\n",
        b"HACK\r\n",
    ],
)
def test_faulty_commands_end_the_session(sink_of: OpenSink, command: bytes) -> None:
    sink = sink_of()

    assert codes(say(sink, command))[-1] == 500
    assert Record.read(sink.log).faults


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (b"MAIL FROM:<a@x.test>\r\n", 503),
        (b"EHLO test\r\nRCPT TO:<b@x.test>\r\n", 503),
        (b"EHLO test\r\nMAIL FROM:<a@x.test>\r\nDATA\r\n", 503),
        (b"EHLO test\r\n" + b"MAIL FROM:<a@x.test>\r\n" * 2, 503),
        (OPENING.replace(b"DATA", b"RCPT TO:<c@x.test>"), 452),
    ],
)
def test_the_order_of_commands(sink_of: OpenSink, commands: bytes, expected: int) -> None:
    assert codes(say(sink_of(), commands + b"QUIT\r\n"))[-2:] == [expected, 221]


@given(cuts=st.lists(st.integers(1, len(OPENING + LETTER) * 2), max_size=12, unique=True))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_packets_make_no_difference(sink: Sink, cuts: list[int]) -> None:
    said = (OPENING + LETTER + END + b"MAIL FROM:<a@x.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n"
            + LETTER + b"..\r\n" + END + b"QUIT\r\n")  # fmt: skip
    places = [0, *sorted(cuts), len(said)]
    parts = [said[start:end] for start, end in pairwise(places)]

    heard = say(sink, *parts)

    assert codes(heard) == [220, 250, 250, 250, 354, 250, 250, 250, 354, 250, 221]


@pytest.mark.parametrize("place", ["mail", "rcpt", "data", "dot"])
def test_refused_as_often_as_told(sink_of: OpenSink, place: str) -> None:
    sink = sink_of({"at": place, "do": "450", "times": 2})
    letter = OPENING + LETTER + END + b"QUIT\r\n"

    # Where DATA is not let through, the letter would be taken for commands.
    refused = letter if place == "dot" else OPENING + b"QUIT\r\n"
    answers = [codes(say(sink, said)) for said in (refused, refused, letter)]

    assert [450 in answer for answer in answers] == [True, True, False]
    assert Record.read(sink.log).accepted == {"one": {"b@x.test": ["<1@x.test>"]}}


@pytest.mark.parametrize("place", ["banner", "ehlo", "mail", "rcpt", "data"])
def test_421_closes(sink_of: OpenSink, place: str) -> None:
    sink = sink_of({"at": place, "do": "421"})

    heard = say(sink, OPENING, until=b"nothing like that")

    assert codes(heard)[-1] == 421


@pytest.mark.parametrize("place", [*BEFORE_THE_DOT, "after-dot", "reply"])
def test_drops_in_the_letter(sink_of: OpenSink, place: str) -> None:
    sink = sink_of({"at": place, "do": "drop"})

    heard = say(sink, OPENING, LETTER, END)

    assert heard.endswith(b"25" if place == "reply" else b"354 go on\r\n")
    record = Record.read(sink.log)
    accepted = place in ("after-dot", "reply")
    assert bool(record.accepted) == accepted
    if accepted:
        assert record.unanswered.total() == 1
    # The second attempt of the same recipient goes through.
    assert codes(say(sink, OPENING + LETTER + END + b"QUIT\r\n"))[-2:] == [250, 221]


def test_another_plan_is_taken_up(sink_of: OpenSink) -> None:
    sink = sink_of({"at": "banner", "do": "554"})
    assert codes(say(sink, b"")) == [554]

    sink.behave({})

    while codes(say(sink, b"QUIT\r\n")) == [554]:  # the signal is on its way
        pass


@pytest.mark.parametrize(
    "rule", [("dot", "drop"), ("body", "450"), ("rcpt", "silent"), ("x", "drop"), ("mail", "250")]
)
def test_no_such_misbehaviour(rule: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="no such misbehaviour"):
        Rule(*rule)


def record_of(tmp_path: Path, *lines: tuple[str, str, str, str]) -> Record:
    path = tmp_path / "log"
    path.write_text(
        "".join(f"1.0\t{stage}\t{mid}\t{to}\tone\t{detail}\n" for stage, mid, to, detail in lines)
    )
    return Record.read(path)


def test_judgement(tmp_path: Path) -> None:
    record = record_of(
        tmp_path,
        ("accepted-before-reply", "<1>", "sent", ""),
        ("accepted-before-reply", "<2>", "twice", ""),
        ("accepted-before-reply", "<2>", "twice", ""),
        ("accepted-before-reply", "<3>", "unknown", ""),
        ("dropped", "<3>", "unknown", "after-dot"),
        ("refused", "", "refused", "rcpt 550"),
    )
    rows = [
        Row("sent", "sent", 1),
        Row("twice", "sent", 2),
        Row("unknown", "unknown", 1),
        Row("refused", "failed", 1),
        Row("never", "sent", 1),
        Row("open", "deferred", 1),
        Row("groundless", "failed", 1),
    ]
    judged = Judgement()

    judged.add("one", 8, rows, record)

    assert (judged.sent, judged.failed, judged.unknown) == (3, 2, 1)
    assert judged.lost == 4  # never accepted, not final, groundless, without a row
    assert judged.duplicates == 1
    assert record.unanswered.total() == 1
    assert judged.wrong == []


def test_unknown_without_a_reason(tmp_path: Path) -> None:
    record = record_of(tmp_path, ("silent", "<1>", "asked", ""))
    judged = Judgement()

    rows = [Row(email, "unknown", 1) for email in ("asked", "held", "neither")]
    judged.add("one", 3, rows, record, in_flight={"held"})

    assert judged.wrong == ["one: 1 letters unknown that were not in flight"]


def test_a_letter_that_the_ledger_denies(tmp_path: Path) -> None:
    record = record_of(
        tmp_path,
        ("accepted-before-reply", "<1>", "denied", ""),
        ("refused", "", "denied", "dot 550"),
        ("accepted-before-reply", "<2>", "stranger", ""),
        ("accepted-before-reply", "<3>", "several", ""),
        ("accepted-before-reply", "<4>", "several", ""),
    )
    judged = Judgement()

    judged.add("one", 2, [Row("denied", "failed", 1), Row("several", "sent", 1)], record)

    assert len(judged.wrong) == 3
    assert judged.duplicates == 1
