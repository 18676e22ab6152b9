"""Opens and clicks out of the stream into the table, many at once."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from django.db import DataError, connection, transaction

from apps.campaigns.services import engagement
from apps.campaigns.services.engagement import Engaged
from apps.tracking import geo, stream
from apps.tracking.services.judging import Key, Letter, Trace, moment, traces
from apps.tracking.stream import Beacon
from mailkit.agents import device_of
from mailkit.machines import ON_DELIVERY, Hit, is_image_proxy

logger = logging.getLogger(__name__)

BATCH = 2000
# So many in the stream are worth a warning: the writer does not keep up, or did not run.
MANY = 100_000
# Any number that nothing else in the database locks.
WRITER_LOCK = 0x56535754
# Below PostgreSQL's deadlock_timeout: where this and a sending process wait for each other's
# rows, it is this that gives way and tries again.
LOCK_WAIT = "500ms"


class NotTheWriter(Exception):
    """Another process writes at this moment."""


def write_waiting() -> int:
    """Write the oldest entries of the stream and delete them there; how many there were.

    Killed at any point it is repeated: what is in the table already is not written again. Raises
    NotTheWriter, redis.RedisError, django.db.Error.
    """
    entries = stream.read(BATCH)
    if not entries:
        return 0
    _write_what_can_be([beacon for _id, beacon in entries if beacon])
    stream.delete([entry_id for entry_id, _beacon in entries])
    return len(entries)


def _write_what_can_be(beacons: Sequence[Beacon]) -> None:
    """What the table does not take is left out: it would stand in the way of the others."""
    try:
        write(beacons)
    except DataError as error:
        if len(beacons) == 1:
            logger.error("left out: %r: %s", beacons[0], error)
            return
        middle = len(beacons) // 2
        _write_what_can_be(beacons[:middle])
        _write_what_can_be(beacons[middle:])


def write(beacons: Sequence[Beacon]) -> None:
    """Write events and all that follows from them, in one transaction. Raises NotTheWriter."""
    came: dict[Letter, list[Beacon]] = defaultdict(list)
    for one in beacons:
        came[one.campaign_id, one.contact_id].append(one)
    with transaction.atomic():
        _lock()
        found = traces(came)
        new: list[dict[str, Any]] = []
        changed: list[tuple[Key, str]] = []
        opened: list[Engaged] = []
        machines: list[Letter] = []
        accepted: list[Letter] = []
        for letter, trace in found.items():
            fresh = {(one.at, one.number): one for one in came[letter]}
            fresh = {key: one for key, one in fresh.items() if key not in trace.hits}
            for key, one in fresh.items():
                trace.hits[key] = _hit(one)
            classes = trace.judge()
            new += [_row(one, trace, classes[key]) for key, one in fresh.items()]
            others = {key: code for key, code in trace.classes.items() if classes[key] != code}
            changed += [(key, classes[key]) for key in others]
            if _taken_for_a_person(trace, [key for key, code in others.items() if not code]):
                machines.append(letter)
                trace.opened_at = trace.clicked_at = None
            opened += _engaged(letter, trace, classes)
            if trace.status == "unknown" and {"", *ON_DELIVERY} & set(classes.values()):
                accepted.append(letter)
        _insert(new)
        _reclassify(changed)
        engagement.take_back(machines)
        engagement.note(opened)
        engagement.settle_unknown(accepted)


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [WRITER_LOCK])
        if not cursor.fetchone()[0]:
            raise NotTheWriter
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")


def _hit(one: Beacon) -> Hit:
    link = one.link if one.kind == "click" else None
    return Hit(one.at / 1000, link, one.agent.replace("\0", ""), _address(one.address) or "")


def _row(one: Beacon, trace: Trace, machine: str) -> dict[str, Any]:
    """A row of the table. Of the erased neither the agent nor the address is kept."""
    hit = trace.hits[one.at, one.number]
    behind_proxy = is_image_proxy(hit.agent)
    return {
        "at": str(moment(one.at)),
        "number": one.number,
        "workspace_id": trace.workspace_id,
        "campaign_id": one.campaign_id,
        "contact_id": one.contact_id,
        "kind": one.kind,
        "link": one.link,
        "machine": machine,
        "variant": trace.variant,
        "provider": trace.provider,
        "device": device_of(hit.agent),
        "country": "" if behind_proxy else geo.country_of(hit.address),
        "agent": "" if trace.erased else hit.agent,
        "address": None if trace.erased else hit.address or None,
    }


@lru_cache(maxsize=10_000)
def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _taken_for_a_person(trace: Trace, keys: Sequence[Key]) -> bool:
    """Whether the first open or click of the letter is among these."""
    times = {moment(at) for at, _number in keys}
    return trace.opened_at in times or trace.clicked_at in times


def _engaged(letter: Letter, trace: Trace, classes: dict[Key, str]) -> list[Engaged]:
    """The first open and click of a person, where the ledger does not know them yet."""
    opens = [key for key, code in classes.items() if not code]
    clicks = [key for key in opens if trace.hits[key].link is not None]
    if (opens and not trace.opened_at) or (clicks and not trace.clicked_at):
        return [Engaged(*letter, moment(opens[0][0]), moment(clicks[0][0]) if clicks else None)]
    return []


def _insert(rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, [json.dumps(rows)])


_INSERT = """
    INSERT INTO tracking_event (at, number, workspace_id, campaign_id, contact_id, kind, link,
                                machine, variant, provider, device, country, agent, address)
    SELECT * FROM json_to_recordset(%s::json) AS new (
        at timestamptz, number bigint, workspace_id bigint, campaign_id bigint, contact_id bigint,
        kind text, link integer, machine text, variant smallint, provider text, device text,
        country text, agent text, address inet)
    ON CONFLICT DO NOTHING
"""


def _reclassify(changed: Sequence[tuple[Key, str]]) -> None:
    """Later evidence told what earlier events were."""
    if changed:
        rows = [[str(moment(at)), number, code] for (at, number), code in changed]
        with connection.cursor() as cursor:
            cursor.execute(_RECLASSIFY, [json.dumps(rows)])


_RECLASSIFY = """
    WITH judged AS MATERIALIZED (
        SELECT (one ->> 0)::timestamptz AS at, (one ->> 1)::bigint AS number, one ->> 2 AS machine
        FROM json_array_elements(%s::json) AS one
    )
    UPDATE tracking_event AS event SET machine = judged.machine FROM judged
    WHERE event.at = judged.at AND event.number = judged.number
      AND event.machine <> judged.machine
"""
