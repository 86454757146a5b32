"""What the pages of this room are made of: tables, pictures that lie inside the file, styles, and a policy.

The policy (Content-Security-Policy) forbids the page all but its own styles and pictures: no script runs in it and
nothing is fetched, whatever a response holds.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

STYLE = Path(__file__).with_name("sheet.css")
"""Styles of every page."""


class Table(NamedTuple):
    """A table: what stands above it, its head, its lines; a cell may have several lines."""

    caption: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


class Plot(NamedTuple):
    """A plot: its data URI and its caption."""

    uri: str
    caption: str


def render_sheet(template: str, style: str, facts: Mapping[str, object]) -> str:
    """A page as HTML; everything in `facts` is escaped.

    Args:
        template: Path of a template in the folder of this file. It is given `facts`, `style` and `policy`.
        style: CSS, which stands in the page as it is.
        facts: What the template shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(STYLE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render({**facts, "style": Markup(style), "policy": policy(style)})


def policy(style: str) -> str:
    """The Content-Security-Policy of a page whose only style element holds `style`.

    >>> policy("p { margin: 0; }").replace("FqsI8wXm9tNjoL6Cyi5nRfO7zhfynHh3P3TR9s=", "...")
    "default-src 'none'; img-src data:; style-src 'sha256-ZMIWx...'; base-uri 'none'; form-action 'none'"
    """
    digest = base64.b64encode(sha256(style.encode()).digest()).decode("ascii")
    allowed = f"img-src data:; style-src 'sha256-{digest}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def png_uri(png: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def jpeg_uri(jpeg: bytes) -> str:
    """A JPEG as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines of a table.

    >>> flat({"a": 1, "b": {"c": [2]}})
    [('a', '1'), ('b.c', '[2]')]
    """
    lines: list[tuple[str, str]] = []
    for key, value in content.items():
        lines += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", str(value))]
    return lines
