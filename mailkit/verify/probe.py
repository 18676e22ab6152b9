"""Asking a domain's mail server about its mailboxes, without ever sending a message."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mailkit.addresses import Address
from mailkit.smtp.outcomes import SERVICE_CLOSING, BreakCode, Broken, Refused, Reply, Stage
from mailkit.smtp.session import Session
from mailkit.verify.dns import DomainFacts
from mailkit.verify.replies import (
    classify_rcpt,
    is_too_many_recipients,
    refuses_mailbox,
)

# `unsendable`: the address needs SMTPUTF8 and the server lacks it, or the client refuses to
# write it (a quoted local part with a space or angle bracket).
ProbeError = BreakCode | Literal["unsendable"]
Connect = Callable[[str], Awaitable[Session | Refused | Broken]]

# RFC 5321 §5.1 wants at least two tried and allows a limit: a domain may list any number.
_MOST_HOSTS = 5
# Each costs a time-out; a server that has more of them is itself slow.
_MOST_SLOW = 3


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the server said about one address, or where the conversation ended before.

    stage: `rcpt` when the reply is about this address; an earlier one, or `rcpt` with code 421,
    when the session was refused. code, enhanced, text: that reply; without one, text is the
    detail of the break. host: the mail host, if one was asked. catch_all: whether the server
    accepts a made-up address; None when that is not known. error: why there is no reply.
    """

    email: str
    code: int | None
    enhanced: str | None
    text: str
    stage: Stage
    host: str | None
    catch_all: bool | None
    error: ProbeError | None


async def probe_domain(
    facts: DomainFacts,
    addresses: Sequence[Address],
    *,
    connect: Connect,
    sender: str,
    random_local: Callable[[], str],
    limit_per_connection: int = 20,
    results: dict[str, ProbeResult] | None = None,
    catch_all: bool | None = None,
) -> dict[str, ProbeResult]:
    """Ask about several addresses of one domain, on as few connections as it takes.

    connect: opens a greeted connection to a mail host; it is called for the hosts in order of
    preference until one connects. sender: for MAIL FROM, may be empty. random_local: a local
    part that nobody has; it is asked about first, unless `catch_all` says that the answer is
    known. limit_per_connection: RCPT commands.
    results: filled as answers come, so that a caller who stops waiting has them; also returned.
    A connection that breaks off is replaced once. A time-out on a connection that has answered is
    that one address's, up to three times. After that, and after any other time-out, a refused
    MAIL FROM or 421 (it asks us to go away, so we do not come back at once), the addresses still
    open share that outcome.
    Raises ValueError for a domain without mail hosts and for an address of another domain.
    """
    if not facts.hosts:
        raise ValueError("a domain without mail hosts")
    if any(address.domain != facts.domain for address in addresses):
        raise ValueError("an address of another domain")
    if limit_per_connection < 1:
        raise ValueError("limit_per_connection is at least 1")
    made_up = f"{random_local()}@{facts.domain}" if catch_all is None else None
    inquiry = _Inquiry(sender, made_up, limit_per_connection, catch_all=catch_all)
    if results is not None:
        inquiry.results = results
    inquiry.add(addresses)
    may_reconnect = True
    while inquiry.waiting:
        opened = await _open_first(facts.hosts[:_MOST_HOSTS], connect)
        if isinstance(opened, ProbeResult):
            inquiry.give_up(opened)
            break
        host, connection = opened
        try:
            failure = await inquiry.ask(host, connection)
        finally:
            await connection.close()
        if failure is None or inquiry.set_aside_slow(failure):
            continue
        if not may_reconnect or failure.error != "closed":
            inquiry.give_up(failure)
            break
        may_reconnect = False
    return inquiry.results


@dataclass(slots=True)
class _Inquiry:
    """The addresses still to be asked about and the answers so far.

    made_up: the address for the catch-all check; None once it was asked. has_answered: whether
    the server has said anything to RCPT on the connection at hand.
    """

    sender: str
    made_up: str | None
    limit: int
    waiting: deque[str] = field(default_factory=deque)
    results: dict[str, ProbeResult] = field(default_factory=dict)
    catch_all: bool | None = None
    has_answered: bool = False
    slow: int = 0

    def add(self, addresses: Iterable[Address]) -> None:
        for email in dict.fromkeys(address.email for address in addresses):
            if any(character.isspace() or character in "<>" for character in email):
                self.results[email] = _unsendable(email, None)
            else:
                self.waiting.append(email)

    def give_up(self, failure: ProbeResult) -> None:
        for email in self.waiting:
            self.results[email] = replace(failure, email=email, catch_all=self.catch_all)
        self.waiting.clear()

    def set_aside_slow(self, failure: ProbeResult) -> bool:
        """Give a time-out to the one address asked about, if the others may fare better."""
        if failure.error != "timeout" or not self.has_answered or self.slow == _MOST_SLOW:
            return False
        self.slow += 1
        email = self.waiting.popleft()
        self.results[email] = replace(failure, email=email, catch_all=self.catch_all)
        return True

    async def ask(self, host: str, connection: Session) -> ProbeResult | None:
        """Ask on one connection, up to its limit. Returns what ended it early, if anything."""
        self._set_aside_unsendable(host, connection)
        failure = await self._begin(host, connection)
        self.has_answered = False
        asked = answered = 0
        while failure is None and self.waiting and asked < self.limit:
            asked += 1
            email = self.made_up or self.waiting[0]
            answer = await connection.rcpt(email)
            if isinstance(answer, Broken) or answer.code == SERVICE_CLOSING:
                self.made_up = None
                failure = _outcome(host, "rcpt", answer)
            elif answered and is_too_many_recipients(answer.code, answer.enhanced):
                failure = await self._begin(host, connection)
                answered = 0
            else:
                answered += 1
                self.has_answered = True
                self._record(host, email, answer)
        return failure

    async def _begin(self, host: str, connection: Session) -> ProbeResult | None:
        utf8 = "SMTPUTF8" in connection.extensions and not all(map(str.isascii, self.waiting))
        reply = await connection.probe_mail(self.sender, smtputf8=utf8)
        if isinstance(reply, Reply) and reply.positive:
            return None
        return _outcome(host, "mail", reply)

    def _record(self, host: str, email: str, reply: Reply) -> None:
        if email == self.made_up:
            self.made_up = None
            self.catch_all = _means_catch_all(reply)
            return
        self.waiting.remove(email)
        outcome = _outcome(host, "rcpt", reply)
        self.results[email] = replace(outcome, email=email, catch_all=self.catch_all)

    def _set_aside_unsendable(self, host: str, connection: Session) -> None:
        if "SMTPUTF8" in connection.extensions:
            return
        for email in [email for email in self.waiting if not email.isascii()]:
            self.waiting.remove(email)
            self.results[email] = _unsendable(email, host)


async def _open_first(hosts: Sequence[str], connect: Connect) -> tuple[str, Session] | ProbeResult:
    """The first host that takes a connection, else the failure that says most."""
    failures = []
    for host in hosts:
        opened = await connect(host)
        if isinstance(opened, Session):
            return host, opened
        outcome = opened.reply if isinstance(opened, Refused) else opened
        failures.append(_outcome(host, opened.stage, outcome))
    # A refusal has a reply to show; else that of the preferred host.
    return next((failure for failure in failures if failure.code is not None), failures[0])


def _outcome(host: str, stage: Stage, outcome: Reply | Broken) -> ProbeResult:
    """An outcome as a result that still lacks its address."""
    if isinstance(outcome, Reply):
        return ProbeResult(
            "", outcome.code, outcome.enhanced, outcome.text, stage, host, None, None
        )
    return ProbeResult("", None, None, outcome.detail, outcome.stage, host, None, outcome.error)


def _unsendable(email: str, host: str | None) -> ProbeResult:
    return ProbeResult(email, None, None, "", "rcpt", host, None, "unsendable")


def _means_catch_all(reply: Reply) -> bool | None:
    parts = (reply.code, reply.enhanced, reply.text)
    if classify_rcpt(*parts) == "mailbox_exists":
        return True
    return False if refuses_mailbox(*parts) else None
