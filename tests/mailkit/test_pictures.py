"""Pictures that people upload, honest ones and others."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mailkit import pictures
from mailkit.pictures import Crop, PictureFault, PictureFile, read_picture
from tests.support.pictures import moving_picture, picture_file

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
NO_PICTURES = [
    b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<html></html>", SVG, b"%PDF-1.7", b"BM" + bytes(60),
    b"II*\x00" + bytes(60), picture_file(format="TIFF"), picture_file(format="BMP"),
]  # fmt: skip


def read(data: bytes, crop: Crop | None = None) -> PictureFile:
    made = read_picture(BytesIO(data), crop)
    assert isinstance(made, PictureFile), made
    return made


def fault(data: bytes) -> str:
    made = read_picture(BytesIO(data))
    assert isinstance(made, PictureFault)
    return made.message_code


@pytest.mark.parametrize(
    ("given_format", "mode", "kept"),
    [
        ("PNG", "RGB", "png"),
        ("PNG", "RGBA", "png"),
        ("PNG", "P", "png"),
        ("PNG", "I;16", "png"),
        ("JPEG", "RGB", "jpg"),
        ("JPEG", "L", "jpg"),
        ("JPEG", "CMYK", "jpg"),
        ("WEBP", "RGB", "jpg"),
        ("WEBP", "RGBA", "png"),
        ("GIF", "P", "png"),
    ],
)
def test_what_mail_programs_show(given_format: str, mode: str, kept: str) -> None:
    made = read(picture_file(format=given_format, mode=mode))
    image = Image.open(BytesIO(made.data))
    image.load()
    assert made.format == kept
    assert image.size == (made.width, made.height) == (64, 48)
    assert image.mode in {"RGB", "RGBA"}


@pytest.mark.parametrize("data", NO_PICTURES)
def test_what_is_no_picture(data: bytes) -> None:
    assert fault(data) == "not_a_picture"


def test_a_picture_cut_off_is_none() -> None:
    data = picture_file((600, 400), "JPEG")
    assert fault(data[: len(data) // 2]) == "not_a_picture"


def test_too_many_bytes() -> None:
    assert fault(picture_file() + bytes(pictures.MAX_BYTES)) == "too_large"


def test_a_bomb_is_not_decoded() -> None:
    """50,000 by 50,000 pixels in a few kilobytes: 2.5 GB if anybody unpacked them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    assert fault(bomb) == "too_many_pixels"


def test_nothing_but_pixels_survives() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    exif[0x8825] = {1: "N", 2: (55.0, 45.0, 0.0)}
    data = (
        picture_file(format="JPEG", exif=exif, comment=b"a comment") + b"PK\x03\x04 a second file"
    )
    made = read(data)
    for secret in (b"Secret", b"Exif", b"a comment", b"PK\x03\x04"):
        assert secret not in made.data
    assert not Image.open(BytesIO(made.data)).getexif()


def test_a_photo_taken_sideways_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = read(picture_file((60, 40), "JPEG", exif=exif))
    assert (made.width, made.height) == (40, 60)


def test_large_photos_become_small_enough_for_mail() -> None:
    made = read(picture_file((4000, 1000), "JPEG"))
    assert (made.width, made.height) == (2000, 500)


def test_moving_pictures_go_on_moving() -> None:
    made = read(moving_picture(5))
    image = Image.open(BytesIO(made.data))
    assert made.format == "gif"
    assert getattr(image, "n_frames", 1) == 5
    assert image.info["duration"] == 80


def test_moving_pictures_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault(moving_picture(pictures.MAX_FRAMES + 1, (2, 2))) == "too_many_frames"
    monkeypatch.setattr(pictures, "MAX_MOVING_PIXELS", 1000)
    assert fault(moving_picture(3)) == "too_many_pixels"


def test_crop_and_resize() -> None:
    made = read(picture_file((600, 400)), Crop(100, 50, 300, 200, 150))
    assert (made.width, made.height) == (150, 100)


@given(
    st.builds(
        Crop,
        *[st.integers(0, 10_000)] * 2,
        *[st.integers(1, 10_000)] * 3,
    )
)
def test_any_crop_gives_a_picture(crop: Crop) -> None:
    made = read(picture_file((60, 40)), crop)
    assert 1 <= made.width <= min(60, crop.to_width)
    assert 1 <= made.height <= 40


@given(
    st.binary(max_size=300), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]), st.integers(0, 400)
)
def test_damaged_files_never_raise(noise: bytes, format: str, at: int) -> None:
    data = picture_file(format=format)
    read_picture(BytesIO(data[:at] + noise + data[at + len(noise) :]))
