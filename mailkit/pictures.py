"""Pictures for letters: what was uploaded is decoded within limits and encoded anew.

Nothing of the file survives but its pixels: no EXIF, no place where it was taken, no comments,
no second file behind the picture. Formats are those that every mail program shows: JPEG, PNG, GIF.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Literal

from PIL import Image, ImageOps, ImageSequence

MAX_BYTES = 10 << 20
MAX_PIXELS = 25_000_000
MAX_FRAMES = 200
MAX_MOVING_PIXELS = 40_000_000  # of all frames together
MAX_MOVING_BYTES = 5 << 20
MAX_SIDE = 2_000  # of what is kept: twice the width of a letter and more
_READ = ("PNG", "JPEG", "GIF", "WEBP")

PictureFormat = Literal["png", "jpg", "gif"]
PictureFaultCode = Literal["not_a_picture", "too_large", "too_many_pixels", "too_many_frames"]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture as it is kept and served."""

    data: bytes
    format: PictureFormat
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PictureFault:
    message_code: PictureFaultCode


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture in pixels, and how wide it becomes (never wider than it is)."""

    left: int
    top: int
    width: int
    height: int
    to_width: int


def read_picture(file: BinaryIO, crop: Crop | None = None) -> PictureFile | PictureFault:
    """Decode and encode anew a JPEG, PNG, GIF or WebP file; of a `crop` the part alone."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return PictureFault("too_large")
    try:
        with warnings.catch_warnings():
            # Of a size that Pillow finds suspicious; ours is checked before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=_READ) as image:
                return _encoded(image, crop)
    except Image.DecompressionBombError:
        return PictureFault("too_many_pixels")
    # Decoders raise much: OSError, SyntaxError, struct.error, ValueError, EOFError, IndexError.
    except Exception:  # noqa: BLE001
        return PictureFault("not_a_picture")


def _encoded(image: Image.Image, crop: Crop | None) -> PictureFile | PictureFault:
    width, height = image.size
    if width * height > MAX_PIXELS:
        return PictureFault("too_many_pixels")
    frames = getattr(image, "n_frames", 1)
    if image.format == "GIF" and frames > 1:
        if frames > MAX_FRAMES:
            return PictureFault("too_many_frames")
        if width * height * frames > MAX_MOVING_PIXELS:
            return PictureFault("too_many_pixels")
        return _moving(image, crop)
    return _still(image, crop)


def _still(image: Image.Image, crop: Crop | None) -> PictureFile:
    image.load()
    is_photo = image.format == "JPEG" or (image.format == "WEBP" and not _is_transparent(image))
    turned = ImageOps.exif_transpose(image)
    plain = turned.convert("RGB" if is_photo else "RGBA" if _is_transparent(turned) else "RGB")
    plain = _fitted(plain, crop)
    plain.info.clear()
    out = BytesIO()
    if is_photo:
        plain.save(out, "JPEG", quality=85, optimize=True, progressive=True)
        return PictureFile(out.getvalue(), "jpg", *plain.size)
    plain.save(out, "PNG", optimize=True)
    return PictureFile(out.getvalue(), "png", *plain.size)


def _moving(image: Image.Image, crop: Crop | None) -> PictureFile | PictureFault:
    frames, durations = [], []
    for frame in ImageSequence.Iterator(image):
        durations.append(int(frame.info.get("duration", 100)) or 100)
        frames.append(_fitted(frame.convert("RGBA"), crop))
    out = BytesIO()
    frames[0].save(
        out, "GIF", save_all=True, append_images=frames[1:], duration=durations,
        loop=int(image.info.get("loop", 0)), disposal=2, optimize=True,
    )  # fmt: skip
    if out.tell() > MAX_MOVING_BYTES:
        return PictureFault("too_large")
    return PictureFile(out.getvalue(), "gif", *frames[0].size)


def _fitted(image: Image.Image, crop: Crop | None) -> Image.Image:
    if crop:
        left, top = _within(crop.left, image.width - 1), _within(crop.top, image.height - 1)
        right = left + _within(crop.width, image.width - left, least=1)
        image = image.crop((left, top, right, top + _within(crop.height, image.height - top, 1)))
        to_width = _within(crop.to_width, image.width, least=1)
        if to_width < image.width:
            height = max(1, round(image.height * to_width / image.width))
            image = image.resize((to_width, height), Image.Resampling.LANCZOS)
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image


def _within(value: int, most: int, least: int = 0) -> int:
    return max(least, min(value, most))


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
