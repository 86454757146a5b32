"""What a visitor uploads: only whole still pictures come in, and nothing but their pixels stays."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.made_demo import encoded, load

pictures, settings = load("pictures"), load("settings")
MARK = b"51.0504N"
"""Stands in an upload's metadata."""


def read(upload: bytes) -> bytes:
    kept: bytes = pictures.read_upload(upload, 1, 2)
    return kept


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_comes_in_as_a_png_of_its_pixels(kind: str) -> None:
    kept = read(encoded(kind, (40, 30)))
    with Image.open(io.BytesIO(kept)) as picture:
        assert (picture.format, picture.mode, picture.size, dict(picture.info)) == ("PNG", "RGB", (40, 30), {})


def with_metadata(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = MARK.decode()
    options: dict[str, Any] = {"exif": exif}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("where", MARK.decode())
    return encoded(kind, (40, 30), **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_is_stripped_after_the_picture_is_turned_as_it_says(kind: str) -> None:
    upload = with_metadata(kind)
    assert MARK in upload
    kept = read(upload)
    assert MARK not in kept
    assert Image.open(io.BytesIO(kept)).size == (30, 40)


def test_bytes_behind_a_picture_do_not_stay() -> None:
    assert MARK not in read(encoded() + MARK)


def test_large_pictures_become_smaller_and_clear_ones_white() -> None:
    assert Image.open(io.BytesIO(read(encoded(size=(1500, 1000))))).size == (1024, 683)
    stream = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(stream, "PNG")
    assert Image.open(io.BytesIO(read(stream.getvalue()))).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_pictures_of_all_modes_come_in(mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (20, 20)).save(stream, "JPEG" if mode == "CMYK" else "PNG")
    assert Image.open(io.BytesIO(read(stream.getvalue()))).mode == "RGB"


def animated() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG whose header promises 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("upload", "told"),
    [
        (b"", "This file is empty"),
        (b"Hello, I am a text.", "This file is not a picture, whatever its name says"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "This file is not a picture"),
        (encoded("GIF"), "This file is not a picture, whatever its name says. Upload a PNG, a JPEG or a WebP"),
        (encoded()[:50], "This file begins like a PNG but is broken"),
        (encoded("JPEG")[:200], "This file begins like a JPEG but is broken"),
        (b"\x89PNG\r\n\x1a\n" + b"text" * 9, "This file begins like a PNG but is broken"),
        (encoded() + b"0" * 2**20, r"This file has 1\.0 MB; at most 1 MB"),
        (encoded(size=(2000, 1001)), "This picture has 2000 x 1001 pixels; at most 2 million"),
        (encoded(size=(12_001, 10)), "This picture has 12001 x 10 pixels; at most 2 million, and 12000 a side"),
        (encoded(size=(7, 10)), "This picture has 7 x 10 pixels; at least 8"),
        (encoded(size=(8, 1500)), "the longer side at most 128 times the shorter one"),
        (animated(), "This picture is animated"),
    ],
)
def test_what_is_no_such_picture_is_refused_in_plain_words(upload: bytes, told: str) -> None:
    with pytest.raises(settings.DemoError, match=told):
        read(upload)


def test_a_picture_that_promises_too_many_pixels_is_not_decoded() -> None:
    with pytest.raises(settings.DemoError, match="This picture has too many pixels; at most 2 million"):
        read(bomb())


def test_a_picture_in_the_page_has_no_address_and_is_small() -> None:
    uri = pictures.data_uri(read(encoded(size=(900, 600))), 100)
    assert uri.startswith("data:image/jpeg;base64,")
    assert pictures.data_uri(read(encoded()), 100).startswith("data:image/png;base64,")


def test_a_broken_picture_of_the_dataset_is_told_as_such() -> None:
    assert pictures.read_picture(encoded("GIF"), 2)
    with pytest.raises(settings.DemoError, match="A picture of the dataset cannot be decoded"):
        pictures.read_picture(b"none", 2)
