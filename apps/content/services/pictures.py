"""The media library. A file is written before its row and removed after it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import PurePath
from typing import BinaryIO

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Workspace
from apps.content.models import Block, Picture, Template
from core.errors import InvalidInput
from mailkit.pictures import Crop, PictureFault, PictureFile, read_picture

FOLDER = "pictures"
_FAULTS = {
    "not_a_picture": gettext_lazy(
        "This file is not a picture that mail programs show: upload a JPEG, PNG, GIF or WebP file."
    ),
    "too_large": gettext_lazy(
        "The picture is too large: at most 10 MB, and 5 MB for one that moves."
    ),
    "too_many_pixels": gettext_lazy(
        "The picture has too many pixels: at most 25 million, 40 million in all frames together."
    ),
    "too_many_frames": gettext_lazy("The picture moves for too long: at most 200 frames."),
}
# Other apps that keep letters tell here where a picture is used: names of the places.
UsedIn = Callable[[Workspace, str], Iterable[str]]
_used_in: list[UsedIn] = []


def register_used_in(source: UsedIn) -> None:
    """Add an app's source, once however often it is called."""
    if source not in _used_in:
        _used_in.append(source)


def add_picture(*, workspace: Workspace, file: BinaryIO, name: str, alt: str = "") -> Picture:
    """Keep an uploaded picture; one that is there already is not kept twice.

    Raises InvalidInput for what is no picture or beyond the limits.
    """
    return _keep(workspace, _read(file, None), name, alt)


def crop_picture(*, picture: Picture, crop: Crop) -> Picture:
    """A new picture from a part of another, which stays as it is. Raises InvalidInput."""
    with default_storage.open(f"{FOLDER}/{picture.path}") as file:
        made = _read(BytesIO(file.read()), crop)
    return _keep(picture.workspace, made, picture.name, picture.alt)


def describe_picture(*, picture: Picture, name: str, alt: str) -> None:
    """Raises InvalidInput."""
    name, alt = name.strip(), " ".join(alt.split())
    if not name or len(name) > 150 or len(alt) > 300:
        raise InvalidInput(_("A name has up to 150 characters, an alternative text up to 300."))
    Picture.objects.filter(pk=picture.pk).update(name=name, alt=alt)


def delete_picture(*, picture: Picture) -> None:
    """Take it off the site: letters that show it, sent ones too, show a gap from then on."""
    deleted, _rows = Picture.objects.filter(pk=picture.pk).delete()
    if deleted:
        transaction.on_commit(lambda: default_storage.delete(f"{FOLDER}/{picture.path}"))


def used_in(*, picture: Picture) -> list[str]:
    """Names of the places that show the picture."""
    holds = Q(html__contains=picture.key) | Q(design__contains=picture.key)
    templates = Template.objects.filter(holds, workspace=picture.workspace)
    blocks = Block.objects.filter(workspace=picture.workspace, source__contains=picture.key)
    places = [_("template “%(name)s”") % {"name": template.name} for template in templates[:20]]
    places += [_("block “%(name)s”") % {"name": block.name} for block in blocks[:20]]
    for source in _used_in:
        places += source(picture.workspace, picture.key)
    return places


def _read(file: BinaryIO, crop: Crop | None) -> PictureFile:
    made = read_picture(file, crop)
    if isinstance(made, PictureFault):
        raise InvalidInput(str(_FAULTS[made.message_code]))
    return made


def _keep(workspace: Workspace, made: PictureFile, name: str, alt: str) -> Picture:
    sha256 = hashlib.sha256(made.data).hexdigest()
    same = Picture.objects.filter(workspace=workspace, sha256=sha256)
    if existing := same.first():
        return existing
    picture = Picture(
        workspace=workspace,
        key=secrets.token_urlsafe(16),
        sha256=sha256,
        format=made.format,
        name=PurePath(name.replace("\\", "/")).name[:150] or _("Picture"),
        alt=" ".join(alt.split())[:300],
        width=made.width,
        height=made.height,
        size=len(made.data),
    )
    path = default_storage.save(f"{FOLDER}/{picture.path}", ContentFile(made.data))
    try:
        with transaction.atomic():
            picture.save()
    except IntegrityError:
        # Uploaded twice at the same time: the first stays.
        default_storage.delete(path)
        return same.get()
    return picture
