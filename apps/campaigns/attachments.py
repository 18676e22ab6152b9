"""The files that a campaign's letters carry, read from the storage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from django.core.files.storage import default_storage
from django.utils.translation import gettext as _

from apps.campaigns.models import Attachment, Campaign
from core.errors import InvalidInput
from mailkit.attachments import Attachments, mixed_boundary, tail_of, tail_size

FOLDER = "attachments"
# Encoded files that a process keeps: 10 MB each at most. A worker sends one campaign at a time.
KEPT = 2


class StoredFile(NamedTuple):
    key: str
    name: str
    content_type: str
    size: int


def files_of(campaign: Campaign) -> tuple[StoredFile, ...]:
    """In the order in which they were attached."""
    if not campaign.pk:
        return ()
    rows = Attachment.objects.filter(campaign=campaign.pk).order_by("pk")
    return tuple(StoredFile(*row) for row in rows.values_list(*StoredFile._fields))


def path_of(key: str) -> str:
    """In the storage."""
    return f"{FOLDER}/{key}"


def attached(files: tuple[StoredFile, ...]) -> Attachments | None:
    """What a letter carries. Its octets are read when they are asked for, which raises InvalidInput
    where a file is lost."""
    return Attachments(_boundary(files), partial(_tail, files)) if files else None


def encoded_size(files: Sequence[StoredFile]) -> int:
    """What they add to a message, in octets. Reads nothing."""
    if not files:
        return 0
    return tail_size(_boundary(files), ((one.name, one.content_type, one.size) for one in files))


def lost(files: Sequence[StoredFile]) -> list[str]:
    """Names of those whose content is not in the storage any more."""
    return [one.name for one in files if not default_storage.exists(path_of(one.key))]


def _boundary(files: Sequence[StoredFile]) -> bytes:
    return mixed_boundary(*(one.key for one in files), *(one.name for one in files))


@lru_cache(maxsize=KEPT)
def _tail(files: tuple[StoredFile, ...]) -> bytes:
    return tail_of(_boundary(files), ((one.name, one.content_type, _read(one)) for one in files))


def _read(one: StoredFile) -> bytes:
    try:
        with default_storage.open(path_of(one.key)) as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        raise InvalidInput(
            _(
                "The attached file “%(name)s” is not in the storage any more: remove it from the "
                "letter and attach it again."
            )
            % {"name": one.name}
        ) from error
    return data
