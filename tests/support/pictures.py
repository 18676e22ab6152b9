"""Pictures for tests, as files that people upload."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image


def picture_file(
    size: tuple[int, int] = (64, 48), format: str = "PNG", mode: str = "RGB", **options: Any
) -> bytes:
    """A gradient, so that no two sizes are alike."""
    image = Image.linear_gradient("L").resize(size).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(size))
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def moving_picture(frames: int = 3, size: tuple[int, int] = (20, 20)) -> bytes:
    images = [
        Image.new("RGB", size, (index * 40 % 256, index % 256, 90)) for index in range(frames)
    ]
    out = BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=80, loop=0)
    return out.getvalue()
