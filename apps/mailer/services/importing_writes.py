"""A share of a chunk's contacts into the database, in few statements whatever its size.

Columns travel as one text each, a value a line: no value has a line break.

What is known is locked and updated in place; what is new goes in by COPY, with ids taken from the
sequence beforehand, so that lists and the import's own rows need no look-up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from django.db import connection

from apps.mailer.models import Import, Suppression, Verification
from apps.mailer.services import verification
from apps.mailer.services.contacts_erasure import erased_key
from apps.mailer.services.importing_chunks import Share
from mailkit.imports.rows import ContactRow

# No value has this character: what people type is cleaned of controls.
_NULL = "\x01"


@dataclass(frozen=True, slots=True)
class Targets:
    """Where an import's contacts go and what the known ones take."""

    import_id: int
    workspace_id: int
    verification_id: int
    level: str
    policy: str
    lists: tuple[int, ...]
    tags: tuple[str, ...]
    has_erased: bool


class Known(NamedTuple):
    """A stored contact; `is_stale`: it has to be checked again, `waits`: a check is due anyway."""

    id: int
    email: str
    status: str
    is_stale: bool
    waits: bool


@dataclass
class Written:
    """Contacts by what became of them; `met`: those that get no mail, by the first reason."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    to_check: int = 0
    met: Counter[str] = field(default_factory=Counter)


def targets_of(job: Import, checks: Verification) -> Targets:
    lists = {job.list_id, *job.more_lists.values_list("pk", flat=True)}
    return Targets(
        import_id=job.pk,
        workspace_id=job.workspace_id,
        verification_id=checks.pk,
        level=checks.level,
        policy=job.policy,
        lists=tuple(sorted(one for one in lists if one is not None)),
        tags=tuple(job.tags),
        has_erased=Suppression.objects.filter(
            workspace=job.workspace_id, email__startswith="#"
        ).exists(),
    )


def write(targets: Targets, share: Share) -> Written:
    """Write contacts that this import meets for the first time, within a transaction.

    Subscription, verdict and suppression of the known ones are never touched. Raises
    IntegrityError where another import brings one of the new ones at the same time.
    """
    written = Written()
    # One order for all imports, or two files with the same addresses would deadlock.
    rows = sorted(share.contacts.values(), key=_by_email)
    # Of COPY the driver's errors come as they are otherwise.
    with connection.wrap_database_errors, connection.cursor() as cursor:
        _reject(cursor, targets, share)
        if not rows:
            return written
        parameters: dict[str, Any] = {
            "workspace": targets.workspace_id,
            "emails": "\n".join([row.email for row in rows]),
            "level": targets.level,
            "stale": verification.STALE_AFTER,
        }
        cursor.execute(_KNOWN, parameters)
        known = {one.email: one for one in map(Known._make, cursor.fetchall())}
        seen = _seen(cursor, targets, known)
        new = [row for row in rows if row.email not in known]
        if len(known) > len(seen):
            changed = [row for row in rows if row.email in known and row.email not in seen]
            _update(cursor, targets, changed, known, written)
        erased = _create(cursor, targets, new, written) if new else set()
        suppressed = erased | _suppressed(cursor, targets, parameters)
    _count_met(written, known, suppressed, seen)
    return written


def _suppressed(cursor: Any, targets: Targets, parameters: dict[str, Any]) -> set[str]:
    if not Suppression.objects.filter(workspace=targets.workspace_id).exists():
        return set()
    cursor.execute(_SUPPRESSED, parameters)
    return {email for (email,) in cursor.fetchall()}


def _seen(cursor: Any, targets: Targets, known: dict[str, Known]) -> set[str]:
    """Addresses that this import has met before: duplicates in the file."""
    if not known:
        return set()
    met = _ids([one.id for one in known.values()])
    cursor.execute(_SEEN, {"import": targets.import_id, "ids": met})
    ids = {pk for (pk,) in cursor.fetchall()}
    return {email for email, one in known.items() if one.id in ids} if ids else set()


def _by_email(row: ContactRow) -> str:
    return row.email


def _count_met(
    written: Written, known: dict[str, Known], suppressed: set[str], seen: set[str]
) -> None:
    written.duplicate = len(seen)
    if seen:
        known = {email: one for email, one in known.items() if email not in seen}
        suppressed = suppressed - seen
    by_status = {email: one.status for email, one in known.items() if one.status != "subscribed"}
    written.met.update(by_status.values())
    written.met["suppressed"] += len(suppressed - by_status.keys())


def _update(
    cursor: Any,
    targets: Targets,
    rows: Sequence[ContactRow],
    known: dict[str, Known],
    written: Written,
) -> None:
    met = [known[row.email] for row in rows]
    ids = _ids([one.id for one in met])
    marked = [one.id for one in met if one.is_stale]
    if targets.policy != Import.Policy.KEEP:
        statement = _FILL if targets.policy == Import.Policy.FILL else _OVERWRITE
        cursor.execute(
            statement,
            {
                "ids": ids,
                "first_names": "\n".join([row.first_name for row in rows]),
                "last_names": "\n".join([row.last_name for row in rows]),
                "fields": "\n".join([_json(row.fields) for row in rows]),
            },
        )
        written.updated = cursor.rowcount
    written.unchanged = len(met) - written.updated
    if targets.tags:
        cursor.execute(_TAG, {"ids": ids, "tags": list(targets.tags)})
    cursor.execute(_JOIN_LISTS, {"ids": ids, "lists": list(targets.lists)})
    cursor.execute(_MEET, {"ids": ids, "import": targets.import_id})
    if marked:
        cursor.execute(
            _MARK_FOR_CHECK, {"ids": _ids(marked), "verification": targets.verification_id}
        )
    written.to_check += sum(one.is_stale or one.waits for one in met)


def _create(
    cursor: Any, targets: Targets, rows: Sequence[ContactRow], written: Written
) -> set[str]:
    """Those of the new addresses that belong to erased people: kept, but never mailed."""
    cursor.execute(_NEW_IDS, {"number": len(rows)})
    ids: list[int]
    ids, now = cursor.fetchone()  # by the clock that says what is due
    erased = _erased(cursor, targets, rows) if targets.has_erased else set()
    tags = _array_literal(targets.tags)
    waits = f"subscribed\t{targets.verification_id}\t{now}\t{tags}\n"
    never = f"unsubscribed\t{_NULL}\t{_NULL}\t{tags}\n"
    workspace = targets.workspace_id
    lines = [
        f"{pk}\t{workspace}\t{row.email}\t{row.first_name}\t{row.last_name}\t"
        f"{_json(row.fields)}\t{never if row.email in erased else waits}"
        for pk, row in zip(ids, rows, strict=True)
    ]
    _copy(cursor, _COPY_CONTACTS, "".join(lines).replace("\\", "\\\\"))
    for list_id in targets.lists:
        _copy(cursor, _COPY_MEMBERS, "".join([f"{list_id}\t{pk}\n" for pk in ids]))
    _copy(cursor, _COPY_MET, "".join([f"{targets.import_id}\t{pk}\n" for pk in ids]))
    written.created = len(ids)
    written.to_check += len(ids) - len(erased)
    return erased


def _erased(cursor: Any, targets: Targets, rows: Sequence[ContactRow]) -> set[str]:
    """Addresses of people who wanted to be forgotten: only a hash is left of them."""
    hashes = {erased_key(row.email): row.email for row in rows}
    cursor.execute(
        "SELECT email FROM mailer_suppression WHERE workspace_id = %s AND email = ANY(%s)",
        [targets.workspace_id, list(hashes)],
    )
    return {hashes[found] for (found,) in cursor.fetchall()}


def _reject(cursor: Any, targets: Targets, share: Share) -> None:
    if not share.rejected:
        return
    with cursor.copy(_COPY_REJECTED) as copy:
        for row, cells in share.rejected:
            copy.write_row(
                (targets.import_id, row.number, row.line, row.reason[:60], row.raw_email[:500],
                 json.dumps(cells, ensure_ascii=False))
            )  # fmt: skip


def _copy(cursor: Any, statement: str, text: str) -> None:
    with cursor.copy(statement) as copy:
        copy.write(text)


def _ids(ids: Sequence[int]) -> str:
    """An array as PostgreSQL writes one: a single text takes the driver no time."""
    return "{" + ",".join(map(str, ids)) + "}"


def _json(fields: Mapping[str, str]) -> str:
    """An object of texts; keys are Latin letters, digits and _."""
    return "{" + ",".join([f'"{key}":{encode_basestring(fields[key])}' for key in fields]) + "}"


def _array_literal(words: Sequence[str]) -> str:
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words)
    return "{" + ",".join(f'"{word}"' for word in quoted) + "}"


# What waits in a run at least as thorough is left to it: both runs get that answer.
_KNOWN = """
SELECT id, email, status,
       (verdict IN ('', 'unknown') OR verified_at < now() - %(stale)s)
       AND (check_due_at IS NULL OR NOT EXISTS (
           SELECT FROM mailer_verification other
           WHERE other.id = contact.verification_id
             AND (other.level = 'full' OR %(level)s = 'quick'))),
       check_due_at IS NOT NULL AND check_attempts = 0
FROM mailer_contact contact
WHERE workspace_id = %(workspace)s AND email = ANY(string_to_array(%(emails)s, E'\n'))
"""
_SEEN = """
SELECT contact_id FROM mailer_importedcontact
WHERE of_import_id = %(import)s AND contact_id = ANY(%(ids)s::text::bigint[])
"""
# Locked in the order in which all imports lock, or two of them would deadlock.
_CHANGE = """
WITH changed AS MATERIALIZED (
    SELECT known.id, {first_name} AS first_name, {last_name} AS last_name, {fields} AS fields
    FROM unnest(%(ids)s::text::bigint[],
                string_to_array(%(first_names)s, E'\\n'), string_to_array(%(last_names)s, E'\\n'),
                string_to_array(%(fields)s, E'\\n')::jsonb[]) WITH ORDINALITY
        AS row (id, first_name, last_name, fields, position)
    JOIN mailer_contact known ON known.id = row.id
    WHERE (known.first_name, known.last_name, known.fields)
          IS DISTINCT FROM ({first_name}, {last_name}, {fields})
    ORDER BY position
    FOR NO KEY UPDATE OF known)
UPDATE mailer_contact known
SET first_name = changed.first_name, last_name = changed.last_name, fields = changed.fields,
    updated_at = now()
FROM changed WHERE known.id = changed.id
"""
# An empty cell leaves what is known.
_OVERWRITE = _CHANGE.format(
    first_name="coalesce(nullif(row.first_name, ''), known.first_name)",
    last_name="coalesce(nullif(row.last_name, ''), known.last_name)",
    fields="known.fields || row.fields",
)
_FILL = _CHANGE.format(
    first_name="coalesce(nullif(known.first_name, ''), row.first_name, '')",
    last_name="coalesce(nullif(known.last_name, ''), row.last_name, '')",
    fields="row.fields || known.fields",
)
_TAG = """
WITH untagged AS MATERIALIZED (
    SELECT id FROM mailer_contact
    WHERE id = ANY(%(ids)s::text::bigint[]) AND NOT tags @> %(tags)s::varchar[]
    ORDER BY email FOR NO KEY UPDATE)
UPDATE mailer_contact contact
SET tags = contact.tags || ARRAY(
    SELECT tag FROM unnest(%(tags)s::varchar[]) AS tag WHERE tag <> ALL (contact.tags))
FROM untagged WHERE contact.id = untagged.id
"""
_JOIN_LISTS = """
INSERT INTO mailer_listmember (list_id, contact_id)
SELECT list, contact
FROM unnest(%(lists)s::bigint[]) AS list, unnest(%(ids)s::text::bigint[]) AS contact
ON CONFLICT DO NOTHING
"""
_MEET = """
INSERT INTO mailer_importedcontact (of_import_id, contact_id)
SELECT %(import)s, unnest(%(ids)s::text::bigint[])
"""
_MARK_FOR_CHECK = """
WITH marked AS MATERIALIZED (
    SELECT id FROM mailer_contact WHERE id = ANY(%(ids)s::text::bigint[])
    ORDER BY email FOR NO KEY UPDATE)
UPDATE mailer_contact contact
SET verification_id = %(verification)s, check_due_at = now(), check_attempts = 0
FROM marked WHERE contact.id = marked.id
"""
_SUPPRESSED = """
SELECT row.email FROM unnest(string_to_array(%(emails)s, E'\n')) AS row (email)
WHERE EXISTS (
    SELECT FROM mailer_suppression entry
    WHERE entry.workspace_id = %(workspace)s
      AND entry.email IN (row.email, '@' || split_part(row.email, '@', -1)))
"""
_NEW_IDS = """
SELECT array_agg(nextval(sequence.id)), now()::text
FROM (SELECT pg_get_serial_sequence('mailer_contact', 'id')::regclass AS id OFFSET 0) AS sequence,
     generate_series(1, %(number)s)
"""
_COPY_CONTACTS = r"""
COPY mailer_contact
    (id, workspace_id, email, first_name, last_name, fields, status, verification_id,
     check_due_at, tags)
FROM STDIN (NULL E'\x01')
"""
_COPY_MEMBERS = "COPY mailer_listmember (list_id, contact_id) FROM STDIN"
_COPY_MET = "COPY mailer_importedcontact (of_import_id, contact_id) FROM STDIN"
_COPY_REJECTED = """
COPY mailer_rejectedrow (of_import_id, number, line, reason, email, cells) FROM STDIN
"""
