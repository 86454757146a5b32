"""Is everything that a release is made of the same everywhere, and as fresh as its report?

It writes nothing; `make release VERSION=x.y.z` calls it before the tests and again on what was packed. Held against
each other are the checkout (nothing uncommitted), VERSION, pyproject.toml, CITATION.cff, CHANGELOG.md and the versions
in the code; the run's dataset and weights and the hashes of its report.json; cards and packed weights and that report.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cards.facts import Report, check_unchanged, folder_of
from cards.kinds import RELEASE
from cards.pages import CARD, from_report
from cards.reading import CardError
from cards.tables import counted
from cards.versions import changelog_lines, section_of, versions_of
from mis_dataset.files import sha256_of

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_RENDERED = ("dataset", "model")
"""Folders whose card is rendered from report.json, by `render` and by `pack`."""
_PACKED = ("base", "adapter")
"""The same, by `pack` alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("version", metavar="VERSION", help="to be released, such as 0.1.0")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run that is released")
    parser.add_argument("--packed", type=Path, metavar="FOLDER", help="what `pack` wrote, or `render`: is checked too")
    parser.add_argument("--model", default="contrast", help="arm that is released (%(default)s)")
    parser.add_argument("--push", action="store_true", help="it is going to be published: CHANGELOG.md has its date")
    parser.add_argument("--checkout", type=Path, default=Path(), metavar="FOLDER", help="of the code (this folder)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check everything, then fail with all that is stale.

    Raises:
        CardError: something is; the message has it all.
    """
    stale = [*_checkout(args.checkout), *_versions(args), *_measured(args.run, args.model)]
    if args.packed is not None:
        stale += _packed(args)
    if stale:
        told = "\n".join(f"  - {one}" for one in stale)
        raise CardError(f"{args.version} cannot be released, for {counted(len(stale), 'reason')}:\n{told}")
    packed = None if args.packed is None else str(args.packed)
    return {"version": args.version, "run": str(args.run), "packed": packed, "versions": versions_of(args.checkout)}


def _checkout(folder: Path) -> list[str]:
    """Files that git does not have as they are."""
    try:
        command = ["git", "-C", str(folder), "status", "--porcelain"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"{folder}: git does not run ({type(error).__name__}); install it"]
    if ended.returncode:
        return [f"{folder}: is no git checkout; release from one, so that what is released can be found again"]
    names = [line.split(maxsplit=1)[-1] for line in ended.stdout.splitlines()]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"{folder}: is not as committed: {', '.join(names[:5])}{more}; commit or remove them"] if names else []


def _versions(args: argparse.Namespace) -> Iterator[str]:
    """Where the version that is released, or one of those in the code, is told otherwise."""
    if not _VERSION.fullmatch(args.version):
        yield f"VERSION: found {args.version!a}, expected three numbers such as 0.1.0"
    try:
        versions = versions_of(args.checkout)
        changelog, citation = (_read(args.checkout / name) for name in ("CHANGELOG.md", "CITATION.cff"))
    except CardError as error:
        yield str(error)
        return
    if versions["code"] != args.version:
        yield f"pyproject.toml: found version {versions['code']}, expected {args.version}"
    if not re.search(rf'^version: "?{re.escape(args.version)}"?$', citation, flags=re.MULTILINE):
        yield f"CITATION.cff: found no line version: {args.version}"
    section = section_of(changelog, args.version)
    if section is None:
        yield f"CHANGELOG.md: found no section {args.version}, expected a heading: ## {args.version}"
        return
    if args.push and "unreleased" in section[0]:
        yield f"CHANGELOG.md: found {section[0]!r}, expected its day in place of (unreleased)"
    lacking = [line for line in changelog_lines(versions) if line not in section]
    yield from (f"CHANGELOG.md: {args.version} lacks the line {line}" for line in lacking)


def _measured(run: Path, model: str) -> list[str]:
    """Dataset and weights are those that the rates of the report are of."""
    try:
        check_unchanged(run, Report(run / "report.json"), "base", model)
    except CardError as error:
        return [str(error)]
    return []


def _packed(args: argparse.Namespace) -> Iterator[str]:
    """Cards are rendered from this report, and the weights beside them are the ones that it rates."""
    report = args.run / "report.json"
    if not report.is_file():
        return  # said already
    wanted = from_report(sha256_of(report))
    packed = _PACKED if (args.packed / RELEASE).is_file() else ()
    for folder in (*_RENDERED, *packed):
        path = args.packed / folder / CARD
        if not path.is_file():
            yield f"{path}: is missing; render or pack the run again"
        elif wanted not in _read(path).splitlines():
            yield f"{path}: is not rendered from {report} as it is now; render or pack the run again"
    try:
        hashes = Report(report).at("hashes")
    except CardError as error:
        yield str(error)
        return
    for folder, model in (("base", "base"), ("model", args.model)):
        for path in sorted((args.packed / folder).glob("*.safetensors")):
            name = f"{folder_of(model)}/model/{path.name}"
            if sha256_of(path) != hashes.get(name):
                yield f"{path}: is not {name} that the rates of {report} were measured on; pack the run again"


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read ({type(error).__name__})") from error
