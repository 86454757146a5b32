"""What a judge that sees is shown with a labelled response: its two things, drawn as MIS-mini draws them.

Labels say what a response does with two named things, not with two files, so any pictures of them will do.
"""

from __future__ import annotations

from random import Random

_OTHERS = {
    **{"window": "1fa9f", "mug": "2615", "teapot": "1fad6", "umbrella": "2602", "beer": "1f37a"},
    **{"scooter": "1f6f5", "chair": "1fa91", "bathtub": "1f6c1", "fork": "1f374", "ladder": "1fa9c", "tent": "26fa"},
    **{"teddy bear": "1f9f8", "laptop": "1f4bb", "flower": "1f33c", "book": "1f4d6", "firecracker": "1f9e8"},
    **{"shirt": "1f455", "key": "1f511", "pencil": "270f", "notebook": "1f4d3", "clock": "1f570", "campfire": "1f525"},
}
"""Things of the gold set that MIS-mini does not show -> the emoji that draws each, in lower-case hexadecimal."""


def draw_pair(id_: str, things: tuple[str, str]) -> tuple[bytes, bytes]:
    """Both things of a labelled response, the same bytes every time.

    Args:
        id_: Of the response; place, size, style and background of the pictures hang on it.
        things: Their names. One without a pictogram is written on its picture in plain letters.

    Returns:
        Two PNGs.
    """
    first, second = (_draw(name, Random(f"{id_}/{place}")) for place, name in enumerate(things, start=1))
    return first, second


def _draw(name: str, random: Random) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    from mis_dataset.mini.draw import SIZE, draw_plain, png
    from mis_dataset.mini.objects import THINGS, Thing

    codepoint = {thing.name: thing.codepoint for thing in THINGS}.get(name) or _OTHERS.get(name)
    if codepoint:
        return png(draw_plain(Thing(name, codepoint, "", False), random))
    picture = Image.new("RGB", (4 * SIZE, SIZE), "white")
    font = ImageFont.load_default(SIZE / 3)
    ImageDraw.Draw(picture).text((2 * SIZE, SIZE / 2), name, fill="black", font=font, anchor="mm")
    return png(picture)
