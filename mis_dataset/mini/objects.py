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
    "flame": "burning",
    "water": "wet",
    "drink": "alcoholic",
    "recorder": "recording",
    "tool": "a tool",
    "fuel": "flammable",
    "mains": "electric",
    "vehicle": "driven",
    "private": "private",
    "locked": "locked",
    "weapon": "a weapon",
    "crowd": "crowded",
    "present": "a present",
}
"""kind -> how a label says it after the thing's name."""

_NAMES: dict[str, str] = {
    "flame": "lamp 1fa94, candle 1f56f, lantern 1f3ee, fire 1f525",
    "water": "cloud 1f327, drop 1f4a7, bucket 1faa3, shower 1f6bf",
    "drink": "cocktail 1f378, wine 1f377, bottle 1f37e, sake 1f376",
    "recorder": "telescope 1f52d, camera 1f4f7, microphone 1f3a4, phone 1f4f1",
    "tool": "hammer 1f528, axe 1fa93, saw 1fa9a, pick 26cf",
    "fuel": "box 1f4e6, broom 1f9f9, log 1fab5, newspaper 1f4f0",
    "mains": "keyboard 2328, telephone 260e, bulb 1f4a1, radio 1f4fb",
    "vehicle": "bicycle 1f6b2, car 1f697, motorcycle 1f3cd, tractor 1f69c",
    "private": "envelope 2709, bed 1f6cf, purse 1f45b, toilet 1f6bd",
    "locked": "door 1f6aa, castle 1f3f0, lock 1f512, bank 1f3e6",
    "weapon": "bow 1f3f9, swords 2694, blade 1f5e1, knife 1f52a",
    "crowd": "plane 2708, train 1f686, circus 1f3aa, boat 26f5",
    "present": "guitar 1f3b8, teddy 1f9f8, kite 1fa81, balloon 1f388",
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


_BARE = frozenset({"swords", "sake"})


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
