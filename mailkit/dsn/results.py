"""What a message that came back says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mailkit.smtp import faults

Kind = Literal[
    "bounce",  # the letter was not delivered and will not be
    "delayed",  # it was not yet; a bounce may follow
    "complaint",  # the recipient calls it spam
    "auto_reply",  # a program answered: out of office, a ticket was opened
    "challenge",  # a program asks the sender to prove that it is a person
    "other",  # anything else, such as an answer by a person
]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one recipient.

    `status` is the RFC 3463 code and `code` the reply code, where given; `text` is what the server
    said, up to 2,000 characters. `fault` is the class of a bounce, `hard` one of a mailbox that
    does not exist. Of a complaint `fault` is "other".
    """

    kind: Kind
    recipient: str = ""
    fault: faults.Kind = "other"
    hard: bool = False
    code: int | None = None
    status: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """A message that came back: its kind, its recipients if it is a report, and what it quotes.

    `message_ids` are of the letters it may be about, `addresses` where it may have been sent to
    and the return paths that it quotes. None of it is proven: anybody can write such a message.
    """

    kind: Kind
    reports: tuple[Report, ...] = ()
    message_ids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    subject: str = ""
