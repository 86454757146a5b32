"""Whether bytes are a picture, and smaller ones of them: all that this room has Pillow do."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image, ImageOps

from mis_dataset.errors import PictureError
from mis_dataset.record import shown

MAX_PIXELS = 40_000_000
"""A picture of more is refused undecoded: each takes up to four bytes."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_AVERAGED = {"P": "RGBA", "PA": "RGBA", "1": "L", "I;16": "I", "I;16B": "I", "I;16L": "I"}
"""Mode -> one of which neighbours can be averaged."""
UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error),
    SyntaxError,  # what Pillow raises for a broken PNG header
    TypeError,
    IndexError,
    KeyError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises for bytes that are no intact picture."""


def header_fault(encoded: bytes) -> str | None:
    """Says why bytes do not begin like a picture, or None; cheap, the pixels are not decoded.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.

    Returns:
        None where Pillow knows format and size.
    """
    try:
        with open_picture(encoded):
            return None
    except UNREADABLE as error:
        return _broken(error)


def open_picture(encoded: bytes) -> Image.Image:
    """Opens a picture in one of the formats that a release may have, and no other.

    Args:
        encoded: a picture file.

    Returns:
        The picture, not decoded yet; a context manager.

    Raises:
        OSError: and others, see `UNREADABLE`; so do the methods of the picture.
    """
    return Image.open(io.BytesIO(encoded), formats=_FORMATS)


class Decoded(NamedTuple):
    """What decoding showed.

    Attributes:
        fault: why the bytes are not one whole still picture, or None.
        remarks: what is unusual of an intact one: it loads, but not everywhere as meant.
    """

    fault: str | None
    remarks: tuple[str, ...] = ()


def decode(encoded: bytes, suffix: str) -> Decoded:
    """Decodes every pixel and tests checksums.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.
        suffix: of its name, e.g. ``".png"``.

    Returns:
        Its faults and remarks.
    """
    try:
        with open_picture(encoded) as picture:
            picture.verify()  # leaves the picture unusable: hence opened twice
        with open_picture(encoded) as picture:
            # An MPO is a JPEG of a phone with a second one behind it, which no reader shows.
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                return Decoded("is animated; put a still picture there")
            picture.load()
            return Decoded(None, tuple(_remarks(picture, suffix)))
    except UNREADABLE as error:
        return Decoded(_broken(error))


def _remarks(picture: Image.Image, suffix: str) -> list[str]:
    remarks = []
    meant = Image.registered_extensions().get(suffix.lower())
    if meant != picture.format:
        remarks.append(f"pictures are {picture.format} under a name in {shown(suffix)}")
    if picture.mode == "CMYK":
        remarks.append("pictures are in CMYK, which models read as other colours")
    return remarks


def shrink(encoded: bytes, side: int, quick: bool = False) -> bytes:
    """Makes a picture smaller, in its own format; one that is small enough stays as it is, byte for byte.

    Args:
        encoded: a picture file.
        side: pixels that the longer side shall have at most.
        quick: whether a PNG is compressed with little effort: the same pixels in more bytes.

    Returns:
        A picture file.

    Raises:
        PictureError: it cannot be decoded, or Pillow cannot make such a one smaller.
    """
    try:
        with open_picture(encoded) as picture:
            if max(picture.size) <= side:
                return encoded
            # `datasets` turns a picture as its EXIF says; saved anew it has none. Palettes and bits cannot be averaged.
            turned = ImageOps.exif_transpose(picture)
            plain = turned.convert(_AVERAGED.get(turned.mode, turned.mode))
            # Pillow's shortcut for great reductions knows no whole numbers of 32 bits.
            gap = None if plain.mode == "I" else 2.0
            plain.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=gap)
            # PNG knows sixteen bits, not 32.
            plain = plain.convert("I;16") if plain.mode == "I" else plain
            stream = io.BytesIO()
            plain.save(stream, picture.format, quality=90, **({"compress_level": 1} if quick else {}))
            return stream.getvalue()
    except UNREADABLE as error:
        fault = decode(encoded, "").fault or f"cannot be made smaller ({_reason(error)}); put another there"
        raise PictureError(fault) from error


def thumbnail(encoded: bytes, side: int) -> bytes:
    """Makes a small JPEG for a page, of any picture: turned as its EXIF says, on white, nothing else of the file in it.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.
        side: pixels that the longer side has at most.

    Returns:
        A JPEG.

    Raises:
        PictureError: it cannot be decoded.
    """
    try:
        with open_picture(encoded) as picture:
            picture.draft("RGB", (2 * side, 2 * side))  # lets a JPEG be decoded at a fraction of its size
            plain = _on_white(ImageOps.exif_transpose(picture))
            plain.thumbnail((side, side), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            plain.save(stream, "JPEG", quality=80)
            return stream.getvalue()
    except UNREADABLE as error:
        raise PictureError(decode(encoded, "").fault or _broken(error)) from error


def plain_png(encoded: bytes) -> bytes:
    """The pixels of a picture as a PNG in RGB, nothing else of the file in it: no words of who made it, no place.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.

    Raises:
        PictureError: it cannot be decoded, or is animated.
    """
    fault = decode(encoded, "").fault
    if fault:
        raise PictureError(fault)
    stream = io.BytesIO()
    plain_picture(encoded).save(stream, "PNG")
    return stream.getvalue()


def plain_picture(encoded: bytes) -> Image.Image:
    """What `plain_png` writes, decoded; of an animated picture, its first one.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.

    Raises:
        PictureError: it cannot be decoded.
    """
    try:
        with open_picture(encoded) as picture:
            return _on_white(ImageOps.exif_transpose(picture))
    except UNREADABLE as error:
        raise PictureError(_broken(error)) from error


def _on_white(picture: Image.Image) -> Image.Image:
    """A picture in RGB, what is transparent in it white."""
    if picture.mode.startswith("I"):
        # Sixteen bits a pixel: the upper eight.
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("RGB")
    clear = picture.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Makes Pillow refuse huge pictures. Process-wide: enter it outside of any threads."""
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        refuse_huge_pictures()
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def refuse_huge_pictures() -> None:
    """As `strict_pillow`, for good: for a process that does nothing else."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def _broken(error: BaseException) -> str:
    return f"is not an intact picture ({_reason(error)}); put the original file there"


def _reason(error: BaseException) -> str:
    # Pillow's own text for unknown bytes names a BytesIO object: of no use to a reader.
    return "format unknown" if "cannot identify" in str(error) else str(error) or type(error).__name__
