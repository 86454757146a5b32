"""A picture -> what of it is compared with others: its pixels, whatever file they stand in, and how it looks.

A file that was written anew, in another format or without what it said of itself, has other bytes and the same pixels.
One that was made smaller, or compressed anew with losses, has other pixels and nearly the same look.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib.metadata import version
from typing import NamedTuple

from mis_dataset.construct.found import Found
from mis_dataset.decoding import plain_picture

_PIXELS, _LOOK = 16, 8
"""Bytes."""


class Sight(NamedTuple):
    """What is compared of a picture.

    Attributes:
        pixels: the beginning of a sha256 over its size and its pixels in RGB, 16 bytes.
        look: perceptual hash, 64 bits.
    """

    pixels: bytes
    look: int


class Sights:
    """Looks at pictures; several threads may call it.

    Args:
        found: where sights are kept, so that no file is decoded twice; None: nowhere.
    """

    def __init__(self, found: Found | None = None) -> None:
        self._found = found

    def __call__(self, encoded: bytes) -> Sight:
        """The sight of a picture file, in 24 bytes. Call it inside `decoding.strict_pillow`.

        Raises:
            PictureError: It cannot be decoded.
            CacheError: as `Found.put`.
        """
        if self._found is None:
            return _read(_seen(encoded))
        key = hashlib.sha256(encoded).hexdigest()
        return _read(self._found.get(self._by, key) or self._found.put(self._by, key, _seen(encoded)))

    @cached_property
    def _by(self) -> str:
        # Decoders of another version may give other pixels: those of one are compared with one another only.
        return f"sight 1 pillow {version('pillow')} ImageHash {version('ImageHash')}"


def _seen(encoded: bytes) -> bytes:
    import imagehash

    picture = plain_picture(encoded)
    pixels = hashlib.sha256(f"{picture.width}x{picture.height}\0".encode() + picture.tobytes()).digest()[:_PIXELS]
    return pixels + int(str(imagehash.phash(picture)), 16).to_bytes(_LOOK, "little")


def _read(held: bytes) -> Sight:
    return Sight(held[:_PIXELS], int.from_bytes(held[_PIXELS:], "little"))
