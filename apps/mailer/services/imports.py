"""Imports as a person sees them: upload, start, cancel, try again."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from django.core.files.base import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.mailer.messages import file_fault_text
from apps.mailer.models import ContactField, ContactList, Import, RememberedMapping
from core import queues
from core.errors import Conflict, InvalidInput
from mailkit.imports.rows import MAX_KEY, TARGETS
from mailkit.imports.sniff import sniff
from mailkit.imports.table import FileFault, Source

LARGEST_FILE = 2 * 1024**3
# How long an uploaded file stays after its import has ended.
KEPT = timedelta(days=30)
ENDED = (Import.State.FINISHED, Import.State.FAILED, Import.State.CANCELLED)
LONGEST_TAG = 50
LONGEST_CHOICE = 100
_KEY = re.compile(r"[a-z][a-z0-9_]*")


def upload_file(*, workspace: Workspace, by: User | None, file: File[bytes]) -> Import:
    """Keep the file and look into it. Raises InvalidInput, with nothing kept, if it is no table."""
    name = "".join(filter(str.isprintable, Path(file.name or "").name))[-255:] or "file"
    if (file.size or 0) > LARGEST_FILE:
        raise InvalidInput(_("The file is larger than 2 GB: split it and upload the parts."))
    job = Import(workspace=workspace, created_by=by, name=name)
    # The name on disk is ours: what people call their files is no path.
    job.file.save(f"{uuid.uuid4().hex}{Path(name).suffix[:10]}", file, save=False)
    try:
        source = sniff(Path(job.file.path), name=name)
        if isinstance(source, FileFault):
            raise InvalidInput(file_fault_text(source.code, source.line, source.detail))
        job.source = asdict(source)
        job.save()
    except BaseException:
        job.file.delete(save=False)
        raise
    return job


def reread(*, job: Import, encoding: str, delimiter: str | None) -> None:
    """Read an uploaded file in another way. Raises InvalidInput where that gives no table."""
    source = sniff(
        Path(job.file.path), name=job.name, encoding=encoding, delimiter=delimiter or None
    )
    if isinstance(source, FileFault):
        raise InvalidInput(file_fault_text(source.code, source.line, source.detail))
    read = Import.objects.filter(pk=job.pk, state=Import.State.UPLOADED)
    if not read.update(source=asdict(source)):
        raise Conflict(_("This import was started already."))
    job.source = asdict(source) | {
        "headers": list(source.headers), "sample": [list(row) for row in source.sample]
    }  # fmt: skip


def discard_upload(*, job: Import) -> None:
    """Forget an upload that was not started, and its file. Raises Conflict otherwise."""
    deleted, _per_model = Import.objects.filter(pk=job.pk, state=Import.State.UPLOADED).delete()
    if not deleted:
        raise Conflict(_("This import was started already."))
    job.file.delete(save=False)


def source_of(job: Import) -> Source:
    stored = job.source
    return Source(
        **stored
        | {
            "headers": tuple(stored["headers"]),
            "sample": tuple(tuple(row) for row in stored["sample"]),
        }
    )


@dataclass(frozen=True, slots=True)
class NewField:
    """A field that an import makes where the workspace has none of its key."""

    label: str
    kind: str = ContactField.Kind.TEXT
    choices: tuple[str, ...] = ()


def start_import(
    *,
    job: Import,
    contact_list: ContactList,
    mapping: Mapping[int, str],
    labels: Mapping[str, str],
    level: str,
    fields: Mapping[str, NewField] | None = None,
    more_lists: Sequence[ContactList] = (),
    tags: Sequence[str] = (),
    policy: str = Import.Policy.OVERWRITE,
) -> None:
    """Queue an uploaded file. `mapping`: column index to email, first_name, last_name or a key.

    Keys without an entry in `fields` become fields of any text, named by `labels`. The mapping
    is remembered for the next file with these headers. Raises InvalidInput, for a mapping without
    an email column for one, Conflict if it was started already.
    """
    _check_mapping(mapping, len(job.source["headers"]))
    if level not in Import.Level.values:
        raise InvalidInput(_("Choose how thoroughly the addresses are checked."))
    if policy not in Import.Policy.values:
        raise InvalidInput(_("Choose what happens to contacts that are known already."))
    if any(one.workspace_id != job.workspace_id for one in (contact_list, *more_lists)):
        raise InvalidInput(_("This list does not exist."))
    new = {key: NewField(labels.get(key) or key) for key in mapping.values() if key not in TARGETS}
    new |= {key: field for key, field in (fields or {}).items() if key in new}
    with transaction.atomic():
        started = Import.objects.filter(pk=job.pk, state=Import.State.UPLOADED).update(
            state=Import.State.QUEUED,
            list=contact_list,
            mapping={str(index): target for index, target in mapping.items()},
            level=level,
            policy=policy,
            tags=clean_tags(tags),
            lease_until=timezone.now(),
        )
        if not started:
            raise Conflict(_("This import was started already."))
        job.more_lists.set([one for one in more_lists if one != contact_list])
        ContactField.objects.bulk_create(
            [_field(job, key, field) for key, field in new.items()], ignore_conflicts=True
        )
        _remember(job, mapping, policy, level)
        transaction.on_commit(lambda: _ring(job))


def clean_tags(tags: Sequence[str]) -> list[str]:
    """Trimmed, without repetitions. Raises InvalidInput for one that is no tag."""
    clean = list(dict.fromkeys(" ".join(tag.split()) for tag in tags))
    for tag in clean:
        if not tag or len(tag) > LONGEST_TAG or "," in tag or not tag.isprintable():
            raise InvalidInput(
                _("“%(tag)s” cannot be a tag: use up to 50 characters without a comma.")
                % {"tag": tag[:60]}
            )
    return clean


def _field(job: Import, key: str, field: NewField) -> ContactField:
    choices = list(dict.fromkeys(" ".join(choice.split()) for choice in field.choices))
    if field.kind not in ContactField.Kind.values:
        raise InvalidInput(_("Choose the kind of the new field."))
    if field.kind != ContactField.Kind.CHOICE:
        choices = []
    elif not choices or not all(0 < len(choice) <= LONGEST_CHOICE for choice in choices):
        raise InvalidInput(
            _("Name the choices of “%(field)s”, up to 100 characters each.")
            % {"field": field.label[:100]}
        )
    return ContactField(
        workspace=job.workspace,
        key=key,
        label=field.label[:100] or key,
        kind=field.kind,
        choices=choices,
    )


def _remember(job: Import, mapping: Mapping[int, str], policy: str, level: str) -> None:
    RememberedMapping.objects.update_or_create(
        workspace=job.workspace,
        headers_hash=headers_hash(job),
        defaults={
            "mapping": {str(index): target for index, target in mapping.items()},
            "policy": policy,
            "level": level,
        },
    )


def remembered(job: Import) -> RememberedMapping | None:
    """How the last file with the same headers was imported, if there was one."""
    return RememberedMapping.objects.filter(
        workspace=job.workspace_id, headers_hash=headers_hash(job)
    ).first()


def headers_hash(job: Import) -> str:
    headers = [" ".join(header.split()).casefold() for header in job.source["headers"]]
    return hashlib.sha256(json.dumps(headers).encode()).hexdigest()


def cancel_import(*, job: Import) -> None:
    """Stop before the next rows; what is imported stays. Raises Conflict once it is over."""
    cancelled = Import.objects.filter(
        pk=job.pk, state__in=[Import.State.UPLOADED, Import.State.QUEUED, Import.State.RUNNING]
    ).update(state=Import.State.CANCELLED, token=None, lease_until=None, finished_at=timezone.now())
    if not cancelled:
        raise Conflict(_("This import is over already."))


def remove_old_files() -> int:
    """Remove uploads that ended, or were never started, KEPT ago; returns how many."""
    before = timezone.now() - KEPT
    removed = 0
    for job in Import.objects.filter(finished_at__lt=before).exclude(file="")[:100]:
        removed += forget_file(job)
    for job in Import.objects.filter(
        finished_at=None, created_at__lt=before, state=Import.State.UPLOADED
    )[:100]:
        with suppress(Conflict):
            discard_upload(job=job)
            removed += 1
    return removed


def forget_file(job: Import) -> int:
    """Remove the file of an import that has ended, and what was noted of its rows.

    1 if this call did it.
    """
    forgotten = (
        Import.objects.filter(pk=job.pk, state__in=ENDED)
        .exclude(file="")
        .update(
            file="",
            source=job.source | {"sample": []},
            unfit={key: [number, line, "…"] for key, (number, line, _value) in job.unfit.items()},
        )
    )
    if forgotten:
        job.file.delete(save=False)
    return forgotten


def retry_import(*, job: Import) -> None:
    """Go on after a failure, from the last committed row. Raises Conflict otherwise."""
    if not job.file:
        raise Conflict(_("The uploaded file is deleted by now: upload it again."))
    retried = (
        Import.objects.filter(
            pk=job.pk, state__in=[Import.State.FAILED, Import.State.CANCELLED], list__isnull=False
        )
        .exclude(file="")
        .update(
            state=Import.State.QUEUED,
            lease_until=timezone.now(),
            finished_at=None,
            error_code="",
            error_line=None,
            error_detail="",
        )
    )
    if not retried:
        raise Conflict(_("Only a failed or cancelled import can go on."))
    _ring(job)


def _check_mapping(mapping: Mapping[int, str], columns: int) -> None:
    targets = list(mapping.values())
    if "email" not in targets:
        raise InvalidInput(_("Choose the column that holds the email address."))
    if len(set(targets)) != len(targets):
        raise InvalidInput(_("Two columns go to the same field: choose one of them."))
    for index, target in mapping.items():
        if not 0 <= index < columns:
            raise InvalidInput(_("The file has no column %(number)d.") % {"number": index + 1})
        if len(target) > MAX_KEY or not _KEY.fullmatch(target):
            raise InvalidInput(
                _("“%(key)s” cannot name a field: use Latin letters, digits and _.")
                % {"key": target[:50]}
            )


def _ring(job: Import) -> None:
    from apps.mailer.tasks import import_contacts_async

    queues.ring(import_contacts_async, job.pk)
