"""One-colour icons of the things, for tower, lessons and general rows beside the pictograms: the style ``icon``.

Seven icon fonts. In the package ``QtAwesome``: Font Awesome Free 6 (OFL-1.1), Material Design Icons 6 and Remix Icon
2.5 (Apache-2.0), Phosphor 1.3 (MIT). In ``iconipy``: Lucide 0.544 (ISC), Boxicons 2.1 (MIT), Material Icons 4
(Apache-2.0). No split shows them. They draw one thing in many ways, which is what it takes to name it in a set that no
weight has seen. Only the font files are read: to import QtAwesome takes Qt.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mis_dataset.errors import MISError


class _Set(NamedTuple):
    """An icon font.

    Attributes:
        package: that holds it.
        font: file inside the package.
        names: file that has the code point of every icon by name.
        entry: what an entry of that file looks like; its groups are the name and the code point in hexadecimal.
    """

    package: str
    font: str
    names: str
    entry: str


_JSON = r'"([^"]+)": "(?:0x)?([0-9a-f]+)"'
_SETS: dict[str, _Set] = {
    "fa": _Set(
        "qtawesome",
        "fonts/fontawesome6-solid-webfont-6.7.2.ttf",
        "fonts/fontawesome6-solid-webfont-charmap-6.7.2.json",
        _JSON,
    ),
    "mdi": _Set(
        "qtawesome",
        "fonts/materialdesignicons6-webfont-6.9.96.ttf",
        "fonts/materialdesignicons6-webfont-charmap-6.9.96.json",
        _JSON,
    ),
    "ph": _Set("qtawesome", "fonts/phosphor-1.3.0.ttf", "fonts/phosphor-charmap-1.3.0.json", _JSON),
    "ri": _Set("qtawesome", "fonts/remixicon-2.5.0.ttf", "fonts/remixicon-charmap-2.5.0.json", _JSON),
    "lu": _Set(
        "iconipy",
        "assets/lucide/lucide.ttf",
        "assets/lucide/info.json",
        r'"([^"]+)": \{\s*"encodedCode": "\\\\([0-9a-f]+)"',
    ),
    "bx": _Set(
        "iconipy",
        "assets/boxicons/boxicons.ttf",
        "assets/boxicons/boxicons.css",
        r'\.([\w-]+):before\s*\{\s*content: "\\([0-9a-f]+)"',
    ),
    "mat": _Set(
        "iconipy",
        "assets/material_icons_regular/MaterialIcons-Regular.ttf",
        "assets/material_icons_regular/MaterialIcons-Regular.codepoints",
        r"(?m)^(\w+) ([0-9a-f]+)$",
    ),
}
"""Sets by their short names in `ICONS`."""

ICONS: dict[str, str] = {
    "lamp": "mdi:oil-lamp",
    "lantern": "mdi:coach-lamp",
    "fire": "fa:fire mdi:fire ph:fire ph:flame ri:fire-line lu:flame bx:bxs-flame",
    "cloud": (
        "fa:cloud-rain fa:cloud-showers-heavy mdi:weather-pouring ph:cloud-rain "
        "ri:rainy-line lu:cloud-rain lu:cloud-rain-wind bx:bx-cloud-rain bx:bxs-cloud-rain"
    ),
    "drop": "fa:droplet mdi:water mdi:water-outline ph:drop ri:drop-line lu:droplet bx:bx-droplet bx:bxs-droplet",
    "bucket": "fa:bucket mdi:bucket mdi:bucket-outline",
    "shower": "mdi:shower mdi:shower-head lu:shower-head bx:bx-shower bx:bxs-shower",
    "wine": "fa:wine-glass mdi:glass-wine ph:wine lu:wine bx:bx-wine bx:bxs-wine mat:wine_bar",
    "cocktail": (
        "fa:martini-glass fa:martini-glass-citrus fa:martini-glass-empty mdi:glass-cocktail ri:goblet-line lu:martini"
    ),
    "bottle": "fa:wine-bottle mdi:bottle-wine mdi:bottle-wine-outline lu:bottle-wine",
    "telescope": "mdi:telescope lu:telescope",
    "camera": "fa:camera mdi:camera mdi:camera-outline ph:camera ri:camera-line lu:camera bx:bx-camera bx:bxs-camera",
    "microphone": (
        "fa:microphone mdi:microphone mdi:microphone-outline ph:microphone "
        "ri:mic-line lu:mic bx:bx-microphone bx:bxs-microphone"
    ),
    "phone": (
        "fa:mobile-screen mdi:cellphone ph:device-mobile ri:smartphone-line lu:smartphone bx:bx-mobile bx:bxs-mobile"
    ),
    "hammer": "fa:hammer mdi:hammer ri:hammer-line lu:hammer",
    "axe": "mdi:axe lu:axe",
    "saw": "mdi:hand-saw",
    "pick": "mdi:pickaxe lu:pickaxe",
    "box": "mdi:package-variant-closed ph:package lu:package bx:bx-package bx:bxs-package",
    "broom": "fa:broom mdi:broom lu:brush-cleaning mat:cleaning_services",
    "newspaper": (
        "fa:newspaper mdi:newspaper-variant mdi:newspaper-variant-outline "
        "ph:newspaper ri:newspaper-line lu:newspaper mat:newspaper"
    ),
    "bulb": (
        "fa:lightbulb mdi:lightbulb mdi:lightbulb-outline ph:lightbulb "
        "ri:lightbulb-line lu:lightbulb bx:bx-bulb bx:bxs-bulb mat:lightbulb"
    ),
    "keyboard": (
        "fa:keyboard mdi:keyboard mdi:keyboard-outline ph:keyboard "
        "ri:keyboard-box-line lu:keyboard bx:bxs-keyboard mat:keyboard"
    ),
    "telephone": "mdi:phone-classic",
    "radio": "fa:radio mdi:radio ph:radio ri:radio-line bx:bx-radio bx:bxs-radio mat:radio",
    "bicycle": "mdi:bicycle ph:bicycle ri:bike-line lu:bike mat:pedal_bike",
    "car": "fa:car-side mdi:car-hatchback mdi:car-side lu:car-front bx:bx-car bx:bxs-car mat:directions_car",
    "motorcycle": "fa:motorcycle mdi:motorbike mat:motorcycle",
    "tractor": "fa:tractor mdi:tractor mdi:tractor-variant lu:tractor mat:agriculture",
    "envelope": (
        "fa:envelope mdi:email mdi:email-outline ph:envelope ph:envelope-simple "
        "ri:mail-line lu:mail bx:bx-envelope bx:bxs-envelope mat:mail"
    ),
    "bed": (
        "fa:bed mdi:bed mdi:bed-empty mdi:bed-outline ph:bed "
        "ri:hotel-bed-line lu:bed-double lu:bed bx:bx-bed bx:bxs-bed mat:bed"
    ),
    "purse": "mdi:purse mdi:purse-outline",
    "toilet": "fa:toilet mdi:toilet lu:toilet",
    "door": (
        "fa:door-closed mdi:door mdi:door-closed ph:door "
        "ri:door-closed-line lu:door-closed mat:door_front bx:bx-door-open bx:bxs-door-open"
    ),
    "castle": "mdi:castle lu:castle bx:bxs-castle mat:castle mat:fort",
    "lock": (
        "fa:lock mdi:lock mdi:lock-outline ph:lock ph:lock-simple ri:lock-line lu:lock bx:bx-lock bx:bxs-lock mat:lock"
    ),
    "bank": "fa:building-columns mdi:bank mdi:bank-outline ph:bank ri:bank-line lu:landmark bx:bxs-bank",
    "bow": "mdi:bow-arrow lu:bow-arrow",
    "swords": "mdi:sword-cross lu:swords",
    "blade": "mdi:knife-military mdi:sword lu:sword",
    "knife": "mdi:knife ph:knife ri:knife-line bx:bx-knife",
    "plane": "fa:plane mdi:airplane ph:airplane ri:plane-line lu:plane bx:bxs-plane mat:flight",
    "train": "fa:train mdi:train ph:train ri:train-line lu:train-front bx:bx-train bx:bxs-train",
    "circus": "fa:tents lu:tent mat:festival",
    "boat": "fa:sailboat mdi:sail-boat ri:sailboat-line lu:sailboat mat:sailing",
    "guitar": "fa:guitar mdi:guitar-acoustic mdi:guitar-electric lu:guitar",
    "teddy": "mdi:teddy-bear",
    "kite": "mdi:kite mdi:kite-outline",
    "balloon": "mdi:balloon bx:bxs-balloon",
}
"""Thing -> its icons as ``set:name``. No set draws a log or sake; its candle, which stands on a holder, did harm."""


@lru_cache(maxsize=512)
def icon(which: str, side: int) -> Image.Image:
    """Coverage of the icon `which`, a ``set:name`` of `ICONS`, 8-bit greyscale, in the middle of `side` x `side`.

    Raises:
        MISError: the package that holds its set is missing, or has no such icon.
    """
    set_, name = which.split(":")
    font, codepoints = _font(set_, round(side * 0.66))
    if name not in codepoints:
        package = _SETS[set_].package
        raise MISError(
            f"{_SETS[set_].names}: no icon {name!r}; install the version of {package} in requirements/pins.txt"
        )
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).text((side / 2, side / 2), chr(int(codepoints[name], 16)), fill=255, font=font, anchor="mm")
    return mask


@lru_cache(maxsize=16)
def _font(set_: str, size: int) -> tuple[ImageFont.FreeTypeFont, dict[str, str]]:
    """The font of a set and the code points of its icons."""
    package, font, names, entry = _SETS[set_]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MISError(f"package {package}, whose icons the vision tower learns from, is missing: run `make setup`")
    folder = Path(spec.origin).parent
    codepoints = dict(re.findall(entry, (folder / names).read_text("utf-8")))
    return ImageFont.truetype(str(folder / font), size), codepoints
