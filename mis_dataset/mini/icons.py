"""One-colour icons of the things, for tower, lessons and general rows beside the pictograms: the style ``icon``.

Four icon fonts, all in the package ``QtAwesome``: Font Awesome Free 6 (OFL-1.1), Material Design Icons 6 and Remix
Icon 2.5 (Apache-2.0), Phosphor 1.3 (MIT). No split shows them. They draw one thing in many ways, which is what it
takes to name it in a set that no weight has seen. Only the font files are read: to import the package takes Qt.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mis_dataset.errors import MISError

_FONTS: dict[str, tuple[str, str]] = {
    "fa": ("fontawesome6-solid-webfont-6.7.2.ttf", "fontawesome6-solid-webfont-charmap-6.7.2.json"),
    "mdi": ("materialdesignicons6-webfont-6.9.96.ttf", "materialdesignicons6-webfont-charmap-6.9.96.json"),
    "ph": ("phosphor-1.3.0.ttf", "phosphor-charmap-1.3.0.json"),
    "ri": ("remixicon-2.5.0.ttf", "remixicon-charmap-2.5.0.json"),
}
"""Set -> its font and the code point of every icon by name."""

ICONS: dict[str, str] = {
    "lamp": "mdi:oil-lamp",
    "lantern": "mdi:coach-lamp",
    "fire": "fa:fire mdi:fire ph:fire ph:flame ri:fire-line",
    "drop": "fa:droplet mdi:water mdi:water-outline ph:drop ri:drop-line",
    "cloud": "fa:cloud-rain fa:cloud-showers-heavy mdi:weather-pouring ph:cloud-rain ri:rainy-line",
    "bucket": "fa:bucket mdi:bucket mdi:bucket-outline",
    "shower": "mdi:shower mdi:shower-head",
    "cocktail": "fa:martini-glass fa:martini-glass-citrus fa:martini-glass-empty mdi:glass-cocktail ri:goblet-line",
    "bottle": "fa:wine-bottle mdi:bottle-wine mdi:bottle-wine-outline",
    "wine": "fa:wine-glass mdi:glass-wine ph:wine",
    "telescope": "mdi:telescope",
    "camera": "fa:camera mdi:camera mdi:camera-outline ph:camera ri:camera-line",
    "microphone": "fa:microphone mdi:microphone mdi:microphone-outline ph:microphone ri:mic-line",
    "phone": "fa:mobile-screen mdi:cellphone ph:device-mobile ri:smartphone-line",
    "hammer": "fa:hammer mdi:hammer ri:hammer-line",
    "axe": "mdi:axe",
    "saw": "mdi:hand-saw",
    "pick": "mdi:pickaxe",
    "box": "mdi:package-variant-closed ph:package",
    "broom": "fa:broom mdi:broom",
    "newspaper": "fa:newspaper mdi:newspaper-variant mdi:newspaper-variant-outline ph:newspaper ri:newspaper-line",
    "bulb": "fa:lightbulb mdi:lightbulb mdi:lightbulb-outline ph:lightbulb ri:lightbulb-line",
    "keyboard": "fa:keyboard mdi:keyboard mdi:keyboard-outline ph:keyboard ri:keyboard-box-line",
    "telephone": "mdi:phone-classic",
    "radio": "fa:radio mdi:radio ph:radio ri:radio-line",
    "motorcycle": "fa:motorcycle mdi:motorbike",
    "bicycle": "mdi:bicycle ph:bicycle ri:bike-line",
    "car": "fa:car-side mdi:car-hatchback mdi:car-side",
    "tractor": "fa:tractor mdi:tractor mdi:tractor-variant",
    "envelope": "fa:envelope mdi:email mdi:email-outline ph:envelope ph:envelope-simple ri:mail-line",
    "bed": "fa:bed mdi:bed mdi:bed-empty mdi:bed-outline ph:bed ri:hotel-bed-line",
    "purse": "mdi:purse mdi:purse-outline",
    "toilet": "fa:toilet mdi:toilet",
    "door": "fa:door-closed mdi:door mdi:door-closed ph:door ri:door-closed-line",
    "castle": "mdi:castle",
    "lock": "fa:lock mdi:lock mdi:lock-outline ph:lock ph:lock-simple ri:lock-line",
    "bank": "fa:building-columns mdi:bank mdi:bank-outline ph:bank ri:bank-line",
    "bow": "mdi:bow-arrow",
    "swords": "mdi:sword-cross",
    "blade": "mdi:knife-military mdi:sword",
    "knife": "mdi:knife ph:knife ri:knife-line",
    "plane": "fa:plane mdi:airplane ph:airplane ri:plane-line",
    "train": "fa:train mdi:train ph:train ri:train-line",
    "circus": "fa:tents",
    "boat": "fa:sailboat mdi:sail-boat ri:sailboat-line",
    "guitar": "fa:guitar mdi:guitar-acoustic mdi:guitar-electric",
    "teddy": "mdi:teddy-bear",
    "kite": "mdi:kite mdi:kite-outline",
    "balloon": "mdi:balloon",
}
"""Thing -> its icons as ``set:name``. No set draws a log or sake; its candle, which stands on a holder, did harm."""


@lru_cache(maxsize=512)
def icon(which: str, side: int) -> Image.Image:
    """Coverage of the icon `which`, a ``set:name`` of `ICONS`, 8-bit greyscale, in the middle of `side` x `side`.

    Raises:
        MISError: the package ``QtAwesome`` is missing, or has no such icon.
    """
    set_, name = which.split(":")
    font, codepoints = _font(set_, round(side * 0.66))
    if name not in codepoints:
        raise MISError(
            f"{_FONTS[set_][1]}: no icon {name!r}; install the version of QtAwesome in requirements/pins.txt"
        )
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).text((side / 2, side / 2), chr(int(codepoints[name], 16)), fill=255, font=font, anchor="mm")
    return mask


@lru_cache(maxsize=8)
def _font(set_: str, size: int) -> tuple[ImageFont.FreeTypeFont, dict[str, str]]:
    package = find_spec("qtawesome")
    if package is None or package.origin is None:
        raise MISError("package QtAwesome, whose icons the vision tower learns from, is missing: run `make setup`")
    font, codepoints = (Path(package.origin).parent / "fonts" / name for name in _FONTS[set_])
    return ImageFont.truetype(str(font), size), json.loads(codepoints.read_text("utf-8"))
