"""Verb `convert`: InternVL2.5 as it was published -> a checkpoint that transformers itself loads, or back (--reverse).

The published checkpoints bring their own code and do not load in transformers 5. None of that code is run here and no
pickle is read: weights go from safetensors to safetensors, a shard at a time, and the tokenizer from its own files.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from mis_dataset.errors import UsageError

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``convert``."""
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of the checkpoint, as it was published")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--max-shard-size", type=size, metavar="SIZE", help="such as 2GB (default: the source's shards)"
    )
    parser.add_argument("--weights-only", action="store_true", help="without tokenizer and processor")
    parser.add_argument(
        "--image-token-id", type=count, metavar="N", help="with --weights-only: what stands for a token of a picture"
    )
    parser.add_argument("--reverse", action="store_true", help="a converted checkpoint -> as it was published")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Converts, or finds OUT converted.

    Raises:
        UsageError: Flags that do not go together, or OUT holds something else.
        MISError: SRC cannot be converted.
    """
    if args.reverse and (args.weights_only or args.image_token_id is not None):
        raise UsageError("--reverse writes what was kept; leave --weights-only and --image-token-id out")
    if args.weights_only != (args.image_token_id is not None):
        raise UsageError("--weights-only and --image-token-id go together: without a tokenizer nothing else names it")
    from trainer.convert_internvl import convert, restore

    if args.reverse:
        return restore(args.source, args.out, most=args.max_shard_size)
    return convert(args.source, args.out, image_token=args.image_token_id, most=args.max_shard_size)


def size(text: str) -> int:
    """Bytes.

    >>> size("2GB")
    2000000000

    Raises:
        ArgumentTypeError: `text` is no size; argparse says so and exits with 2.
    """
    found = re.fullmatch(r"(\d+)(KB|MB|GB|)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500MB or 2GB")
    return positive(found[1]) * _UNITS[found[2]]


def count(text: str) -> int:
    """A whole number from 0 on.

    >>> count("0")
    0

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)
