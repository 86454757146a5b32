"""Bytes from outside -> pictures that are safe to keep, to show and to give to a model.

What a visitor uploads is believed in nothing: its first bytes must be those of a format, Pillow must decode it as that
format, and what is kept is drawn anew, so that no EXIF, no place, no second file behind the pixels comes along.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import NamedTuple

from PIL import Image, ImageOps

from settings import DemoError

FORMATS = ("PNG", "JPEG", "WEBP")
LEAST_SIDE, MOST_SIDE = 8, 12_000
"""Pixels. A picture of a few rows and thousands of columns makes some image processors fail."""
KEPT_SIDE = 1024
"""Pixels: a longer side is made so long, as no model here sees more of it."""
_MEGABYTE = 2**20
_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error),
    *(SyntaxError, TypeError, IndexError, KeyError, MemoryError),
)
"""What Pillow raises for bytes that are no whole picture."""


class Picture(NamedTuple):
    """A picture that was checked.

    Attributes:
        png: RGB, at most `KEPT_SIDE` pixels a side, nothing beside the pixels.
        alt: what it is, in words.
        thing: name of what it shows, where that is known.
    """

    png: bytes
    alt: str
    thing: str | None = None

    def image(self) -> Image.Image:
        """The picture, decoded."""
        return Image.open(io.BytesIO(self.png), formats=("PNG",)).convert("RGB")


def read_upload(encoded: bytes, megabytes: int, megapixels: int) -> bytes:
    """Checks what a visitor uploaded.

    Args:
        encoded: all bytes of the file.
        megabytes: the most that it may have.
        megapixels: the most millions of pixels that it may have.

    Returns:
        A PNG, drawn anew.

    Raises:
        DemoError: It is too large or no such picture; the message is for the visitor.
    """
    if not encoded:
        raise DemoError("This file is empty, or was lost on the way. Upload it again.")
    if len(encoded) > megabytes * _MEGABYTE:
        raise DemoError(f"This file has {len(encoded) / _MEGABYTE:.1f} MB; at most {megabytes} MB are allowed.")
    kind = format_of(encoded)
    if kind is None:
        raise DemoError("This file is not a picture, whatever its name says. Upload a PNG, a JPEG or a WebP.")
    try:
        with Image.open(io.BytesIO(encoded), formats=(kind,)) as picture:
            _check_size(*picture.size, megapixels)
            # An MPO is a JPEG of a phone with a second picture behind it, which is dropped.
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                raise DemoError("This picture is animated. Upload a still one.")
            return redrawn(picture)
    except Image.DecompressionBombError as error:
        raise DemoError(f"This picture has too many pixels; at most {megapixels} million are allowed.") from error
    except _UNREADABLE as error:
        raise DemoError(
            f"This file begins like a {kind} but is broken. Save the picture anew and try again."
        ) from error


def format_of(encoded: bytes) -> str | None:
    r"""The format that the first bytes tell, one of `FORMATS`, or None.

    >>> format_of(b"\xff\xd8\xff\xe0"), format_of(b"<svg>")
    ('JPEG', None)
    """
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if encoded.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WEBP"
    return None


def read_picture(encoded: bytes, megapixels: int) -> bytes:
    """A picture of the dataset as a PNG, drawn anew.

    Args:
        encoded: a picture file, in any format that Pillow knows safely.
        megapixels: the most millions of pixels that it may have.

    Raises:
        DemoError: It cannot be decoded, or is too large.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=(*FORMATS, "GIF", "BMP", "TIFF")) as picture:
            _check_size(*picture.size, megapixels)
            return redrawn(picture)
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise DemoError("A picture of the dataset cannot be decoded. Verify the dataset, or fetch it anew.") from error


def redrawn(picture: Image.Image) -> bytes:
    """The pixels of a picture as a PNG: turned as its EXIF says, on white, at most `KEPT_SIDE` a side."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        # Sixteen bits a pixel: the upper eight.
        upright = upright.convert("I").point(lambda value: value * (1 / 256)).convert("RGB")
    clear = upright.convert("RGBA")
    clear.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS)
    plain = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return _png(plain)


def data_uri(png: bytes, side: int = 320) -> str:
    """A picture inside a page: no file, and no address at which somebody else could fetch it.

    Args:
        png: as `redrawn` makes it.
        side: pixels that it has at most.
    """
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        if max(picture.size) > side:
            small = picture.convert("RGB")
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            small.save(stream, "JPEG", quality=82)
            return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _check_size(width: int, height: int, megapixels: int) -> None:
    if width * height > megapixels * 1_000_000 or max(width, height) > MOST_SIDE:
        raise DemoError(
            f"This picture has {width} x {height} pixels; at most {megapixels} million, and {MOST_SIDE} a side, are "
            "allowed."
        )
    # It is made smaller until its longer side fits, and what is then a few pixels wide no model can see.
    smaller = min(1.0, KEPT_SIDE / max(width, height, 1))
    if min(width, height) * smaller < LEAST_SIDE:
        raise DemoError(
            f"This picture has {width} x {height} pixels; at least {LEAST_SIDE} a side are needed, and the longer side "
            f"at most {KEPT_SIDE // LEAST_SIDE} times the shorter one."
        )


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    # A new image has no info: text chunks, profiles and EXIF of the upload end here.
    Image.frombytes("RGB", picture.size, picture.tobytes()).save(stream, "PNG")
    return stream.getvalue()
