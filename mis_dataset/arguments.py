"""Types of command-line arguments that the verbs of all rooms share."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1 on.

    >>> positive("3")
    3

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


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
