"""Flat YAML, as recipes are written: one ``name: value`` a line, strictly read.

A recipe may come from anywhere. PyYAML itself takes a key that stands there twice, numbers that are none, and a few
lines of aliases that become gigabytes once somebody prints them.
"""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from mis_dataset.errors import MISError

_MOST = 10**6
"""Bytes of a file."""
_DEEPEST = 4
"""Values of a few settings of TRL are small tables."""


def read_flat_yaml(file: Path) -> dict[str, Any]:
    """Reads the settings of a file.

    Raises:
        MISError: It is too large, no YAML or not flat, a name stands there twice, or a value is an alias, a date or a
            number that is none.
    """
    try:
        if file.stat().st_size > _MOST:
            raise MISError(f"{file}: has more than {_MOST} bytes, which no recipe has; name another file")
        text = file.read_text("utf-8")
        _check_shape(file, text)
        # A date that is none, or a number of thousands of digits, is a ValueError there.
        found = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise MISError(f"{file}: no such file; name one that holds settings") from error
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise MISError(f"{file}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise MISError(f"{file}: no settings stand there, one `name: value` a line")
    for name, value in found.items():
        if not _is_plain(value):
            raise MISError(f"{file}: {name} holds a number that is none, a date, or half a letter; write what is meant")
    return found


def _check_shape(file: Path, text: str) -> None:
    """That it is shallow and without aliases, before anything is made of it; and that each name stands there once."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = f"line {event.start_mark.line + 1}" if event.start_mark else "a line"
        if depth > _DEEPEST:
            raise MISError(f"{file}: {line} is nested too deeply; a recipe is flat, one `name: value` a line")
        if isinstance(event, yaml.AliasEvent):
            raise MISError(f"{file}: {line} holds an alias (*{event.anchor}); write out what it stands for")
    root = yaml.compose(text, yaml.SafeLoader)
    names = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MISError(f"{file}: {twice} stands there twice; leave one")


def _is_plain(value: Any) -> bool:
    """Whether it can be written as JSON."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(one) for name, one in value.items())
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    return not isinstance(value, date | bytes | set | tuple) and not (
        isinstance(value, float) and not math.isfinite(value)
    )
