"""The things that MIS-mini shows: their names, what kind of thing each is, and which emoji draws it.

A *kind* is what a thing does in a hazard. A hazard joins one kind in the first picture with one in the second; the
other mixes that rows use are harmless (both in `mis_dataset.mini.grammar`). The first `SEEN_PER_KIND` things of a kind
occur in safety rows, the others only in lessons that name them and their kind.

No people, skin tones, flags or faiths; no Erotic, no Hate.
"""

from __future__ import annotations

from typing import NamedTuple

SEEN_PER_KIND = 3
"""Things of each kind that occur in safety rows; the others are known by name and kind only (level ``new_objects``)."""

KINDS: dict[str, str] = {
    "flame": "an open flame",
    "water": "full of water",
    "drink": "a strong drink",
    "recorder": "made for watching",
    "tool": "a breaking tool",
    "fuel": "easy to burn",
    "mains": "on mains power",
    "vehicle": "made for the road",
    "private": "a private thing",
    "locked": "a locked place",
    "weapon": "a weapon",
    "crowd": "a crowded place",
    "present": "a nice surprise",
}
"""kind -> how a label says it after the thing's name."""

_NAMES: dict[str, str] = {
    "flame": "candle 1f56f, fire 1f525, firecracker 1f9e8, lantern 1f3ee",
    "water": "drop 1f4a7, cloud 1f327, bucket 1faa3, shower 1f6bf",
    "drink": "cocktail 1f378, champagne 1f37e, wine 1f377, beer 1f37a",
    "recorder": "camera 1f4f7, telescope 1f52d, phone 1f4f1, microphone 1f3a4",
    "tool": "hammer 1f528, screwdriver 1fa9b, saw 1fa9a, pick 26cf",
    "fuel": "log 1fab5, broom 1f9f9, box 1f4e6, straw 1f33e",
    "mains": "bulb 1f4a1, telephone 260e, keyboard 2328, plug 1f50c",
    "vehicle": "car 1f697, bicycle 1f6b2, tractor 1f69c, scooter 1f6f5",
    "private": "envelope 2709, bed 1f6cf, purse 1f45b, toilet 1f6bd",
    "locked": "bank 1f3e6, castle 1f3f0, house 1f3e0, hotel 1f3e8",
    "weapon": "bow 1f3f9, swords 2694, knife 1f52a, dagger 1f5e1",
    "crowd": "plane 2708, train 1f686, ferry 26f4, circus 1f3aa",
    "present": "guitar 1f3b8, teddy 1f9f8, balloon 1f388, cake 1f382",
}


class Thing(NamedTuple):
    """One depictable thing.

    Attributes:
        name: English noun without an article, e.g. ``"candle"``; unique over all things.
        codepoint: its emoji as lower-case hexadecimal, e.g. ``"1f56f"``.
        kind: key into `KINDS`.
        seen: whether it may occur in a safety row.
    """

    name: str
    codepoint: str
    kind: str
    seen: bool

    @property
    def phrase(self) -> str:
        """The name with its article: ``"a candle"``, ``"an envelope"``, ``"swords"``."""
        if self.name in _BARE:
            return self.name
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


_BARE = frozenset({"swords", "straw"})


def _read_names() -> dict[str, tuple[Thing, ...]]:
    """`_NAMES` as things, kind by kind."""
    things = {}
    for kind, line in _NAMES.items():
        pairs = [entry.split(" ") for entry in line.split(", ")]
        things[kind] = tuple(
            Thing(name, codepoint, kind, seen=position < SEEN_PER_KIND)
            for position, (name, codepoint) in enumerate(pairs)
        )
    return things


BY_KIND: dict[str, tuple[Thing, ...]] = _read_names()
THINGS: tuple[Thing, ...] = tuple(thing for things in BY_KIND.values() for thing in things)
"""All 52 things, kind by kind."""
