"""Attaching files to a draft. A file is written before its row and removed long after it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import BinaryIO

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.campaigns.attachments import FOLDER, path_of
from apps.campaigns.models import Attachment, Campaign
from core.errors import Conflict, InvalidInput
from mailkit.attachments import (
    LARGEST_FILES,
    MOST_FILES,
    blocked_name,
    clean_name,
    content_type,
)

# Keys looked up at once.
BATCH = 500
# Longer than from the writing of a file to the commit of its row.
ORPHANED = timedelta(hours=1)


def attach_file(*, campaign: Campaign, file: BinaryIO, name: str) -> Attachment:
    """Attach an uploaded file to all letters of a draft.

    Raises InvalidInput for what letters cannot carry, Conflict for a campaign that is no draft.
    """
    name = clean_name(name)
    data = file.read(LARGEST_FILES + 1)
    _check(name, data)
    with _draft(campaign) as current:
        there = list(current.attachments.all())
        _check_room(there, len(data))
        attachment = Attachment(
            campaign=current,
            sha256=hashlib.sha256(data).hexdigest(),
            name=name,
            content_type=content_type(name),
            size=len(data),
        )
        for one in there:
            if one.sha256 == attachment.sha256:
                raise InvalidInput(
                    _("The letter has this file already, as “%(name)s”.") % {"name": one.name}
                )
        attachment.key = _key_of_equal(current, attachment.sha256) or _stored(data)
        attachment.save()
    return attachment


def detach_file(*, campaign: Campaign, pk: int) -> None:
    """Take a file off a draft; a second time does nothing. Raises Conflict."""
    with _draft(campaign) as current:
        current.attachments.filter(pk=pk).delete()


def copy_files(*, source: Campaign, to: Campaign) -> None:
    """Give a new draft the files of another campaign; call it within a transaction."""
    # Held, so that their files stay until the copies are there.
    rows = Attachment.objects.select_for_update().filter(campaign=source.pk).order_by("pk")
    copies = [
        Attachment(
            campaign=to,
            key=one.key,
            sha256=one.sha256,
            name=one.name,
            content_type=one.content_type,
            size=one.size,
        )
        for one in rows
    ]
    Attachment.objects.bulk_create(copies)


def remove_orphans() -> int:
    """Remove the files that no campaign names any more; how many."""
    removed = 0
    with suppress(FileNotFoundError):
        keys = sorted(default_storage.listdir(FOLDER)[1])
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            named = Attachment.objects.filter(key__in=some).values_list("key", flat=True)
            removed += sum(map(_removed, sorted({*some} - {*named})))
    return removed


def _removed(key: str) -> bool:
    path = path_of(key)
    try:
        if timezone.now() - default_storage.get_modified_time(path) < ORPHANED:
            return False
    except FileNotFoundError:  # another process was faster
        return False
    default_storage.delete(path)
    return True


@contextmanager
def _draft(campaign: Campaign) -> Iterator[Campaign]:
    """The campaign's row, held: it cannot be launched meanwhile.

    Its version stays: the page on which it is written saves by itself at the same time.
    """
    with transaction.atomic():
        current = Campaign.objects.select_for_update().filter(pk=campaign.pk).first()
        if current is None or not current.is_draft:
            raise Conflict(_("This campaign was launched: its content cannot change any more."))
        yield current


def _check(name: str, data: bytes) -> None:
    if not data:
        raise InvalidInput(_("The file is empty: choose another one."))
    if len(data) > LARGEST_FILES:
        raise InvalidInput(
            _(
                "The file is too large: at most %(size)s. Put it on a website and link to it in "
                "the letter."
            )
            % {"size": filesizeformat(LARGEST_FILES)}
        )
    if blocked := blocked_name(name, data):
        raise InvalidInput(
            _(
                "Gmail and others refuse letters with such files (%(name)s), because programs can "
                "be in them. Send a PDF, a picture or a document, or link to the file."
            )
            % {"name": blocked}
        )


def _check_room(there: list[Attachment], size: int) -> None:
    if len(there) >= MOST_FILES:
        raise InvalidInput(
            _("There are %(number)d files already: remove one first.") % {"number": len(there)}
        )
    room = LARGEST_FILES - sum(one.size for one in there)
    if size > room:
        raise InvalidInput(
            _(
                "The files would be too large together: there is room for %(size)s. Remove one, or "
                "link to the file in the letter."
            )
            % {"size": filesizeformat(room)}
        )


def _key_of_equal(campaign: Campaign, sha256: str) -> str:
    """Of a file with the same content in the workspace; its row is held, so that it stays."""
    equal = Attachment.objects.select_for_update(of=("self",)).filter(
        campaign__workspace=campaign.workspace_id, sha256=sha256
    )
    found = equal.order_by("pk").first()
    return found.key if found else ""


def _stored(data: bytes) -> str:
    """A few megabytes on the server's own disk."""
    key = secrets.token_urlsafe(16)
    default_storage.save(path_of(key), ContentFile(data))
    return key
