"""The list of addresses and domains that are never mailed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.mailer.models import Suppression
from core.errors import InvalidInput
from mailkit.addresses import Fault, parse_address

# What is pasted at once; longer lists come as a file.
MOST_PASTED = 10_000
_SEPARATORS = re.compile(r"[\s,;]+")


@dataclass(slots=True)
class Added:
    """How many entries are new, how many were there, and what is neither address nor domain."""

    new: int = 0
    known: int = 0
    wrong: list[str] = field(default_factory=list)


def entry_of(text: str) -> str | None:
    """An address in its one form, "@domain" for a domain with or without its @, else None."""
    text = text.strip()
    is_domain = "@" not in text[1:]
    address = parse_address(f"x@{text.removeprefix('@')}" if is_domain else text)
    if isinstance(address, Fault):
        return None
    return f"@{address.domain}" if is_domain else address.email


def suppress(*, workspace: Workspace, email: str, reason: str, source: str) -> Suppression:
    """Add an address or a domain; one that is there keeps its first reason. Raises InvalidInput."""
    known = entry_of(email)
    if known is None:
        raise InvalidInput(
            _("“%(email)s” is not an email address or a domain.") % {"email": email[:100]}
        )
    entry, _created = Suppression.objects.get_or_create(
        workspace=workspace, email=known, defaults={"reason": reason, "source": source[:200]}
    )
    return entry


def suppress_text(*, workspace: Workspace, text: str, source: str) -> Added:
    """Add what was pasted: addresses and domains, one a line or with commas or blanks between.

    Raises InvalidInput, with nothing added, for more than 10,000 or for nothing at all.
    """
    pieces = [piece for line in text.splitlines() for piece in _pieces(line)]
    if not pieces:
        raise InvalidInput(_("Paste at least one address or domain."))
    if len(pieces) > MOST_PASTED:
        raise InvalidInput(_("These are more than 10,000: upload them as a file."))
    return suppress_many(workspace=workspace, texts=pieces, source=source)


def _pieces(line: str) -> list[str]:
    """What a line holds; `Name <address>` is one piece."""
    if "<" in line and entry_of(line):
        return [line]
    return [piece for piece in _SEPARATORS.split(line) if piece]


def suppress_many(*, workspace: Workspace, texts: Iterable[str], source: str) -> Added:
    """Add addresses and domains; an entry that is there keeps its first reason and source."""
    added = Added()
    entries: set[str] = set()
    for text in texts:
        entry = entry_of(text)
        if entry is None:
            added.wrong.append(text)
        elif entry in entries:
            added.known += 1
        else:
            entries.add(entry)
    with transaction.atomic():
        before = set(
            Suppression.objects.filter(workspace=workspace, email__in=entries).values_list(
                "email", flat=True
            )
        )
        Suppression.objects.bulk_create(
            [
                Suppression(
                    workspace=workspace,
                    email=email,
                    reason=Suppression.Reason.MANUAL,
                    source=source[:200],
                )
                for email in sorted(entries - before)
            ],
            ignore_conflicts=True,
        )
    added.new += len(entries - before)
    added.known += len(before)
    return added


def remove(*, suppression: Suppression) -> None:
    """Allow mail to the address or domain again, as far as its contacts are subscribed."""
    suppression.delete()
