"""Types of command-line arguments that the verbs of all rooms share."""

from __future__ import annotations

import argparse
import math
import sys


class Paragraphs(argparse.HelpFormatter):
    """Keeps the paragraphs of a description apart, and indented ones as they are.

    A docstring may serve as a description: its ``::`` before a block is shown as one colon.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        parts = [part.strip("\n") for part in text.replace("::\n", ":\n").split("\n\n")]
        return "\n\n".join(part if part.startswith(" ") else fill(part, width, indent) for part in parts)


def positive(text: str) -> int:
    """A whole number from 1 on.

    >>> positive("3")
    3

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    if not text.isdecimal() or not 1 <= int(text) <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def seed(text: str) -> int:
    """A whole number that every random generator takes.

    >>> seed("0")
    0

    Raises:
        ArgumentTypeError: `text` is none from 0 to 2**32 - 1; argparse says so and exits with 2.
    """
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**32 - 1}")
    return int(text)


def above_zero(text: str) -> float:
    """A number above 0.

    >>> above_zero("0.5")
    0.5

    Raises:
        ArgumentTypeError: `text` is none, or no end is in sight; argparse says so and exits with 2.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def fraction(text: str) -> float:
    """A number from 0 to 1.

    >>> fraction("0.05")
    0.05

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return number


def inner_fraction(text: str) -> float:
    """A number between 0 and 1, both left out.

    >>> inner_fraction("0.05")
    0.05

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    if (number := fraction(text)) in (0, 1):
        raise argparse.ArgumentTypeError(f"{text!r} is at an end of 0 to 1; name a number between them")
    return number


def limit(text: str) -> tuple[str, int]:
    """A name and a whole number from 0 on.

    >>> limit("same_text=20")
    ('same_text', 20)

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no KIND=N")
    return name, int(number)
