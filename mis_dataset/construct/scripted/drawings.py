"""What the scripted drawing model draws, and how the scripted vision model sees it.

A picture is a pictogram of MIS-mini with a mark in the lowest bits of its first values, which says what it shows. So
nothing has to be remembered, and an endpoint that was started anew sees what another one drew. A picture that was made
smaller or kept with loss has no mark, and the model sees nothing in it.
"""

from __future__ import annotations

import io
from random import Random

from PIL import Image

from mis_dataset.mini.draw import draw_plain, png
from mis_dataset.mini.objects import THINGS, Thing

_MARK = b"MINI"
_BITS = 8 * (len(_MARK) + 1)


def drawn(thing: Thing, side: int, key: str) -> bytes:
    """A picture of a thing.

    Args:
        thing: to draw.
        side: in pixels, at least 4.
        key: another one gives other pixels, the same one the same.

    Returns:
        PNG.
    """
    random = Random(key)
    picture = draw_plain(thing, random)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    values = bytearray(picture.tobytes())
    number = int.from_bytes(_MARK + bytes([THINGS.index(thing)]))
    for place in range(_BITS):
        values[place] = values[place] & 0xFE | number >> place & 1
    return png(Image.frombytes("RGB", picture.size, bytes(values)))


def seen(picture: bytes) -> Thing | None:
    """What a picture shows; None where it was not drawn here, or changed since."""
    with Image.open(io.BytesIO(picture)) as opened:
        values = opened.convert("RGB").tobytes()[:_BITS]
    *mark, number = sum((value & 1) << place for place, value in enumerate(values)).to_bytes(len(_MARK) + 1)
    return THINGS[number] if bytes(mark) == _MARK and number < len(THINGS) else None
