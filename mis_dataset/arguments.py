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
