"""Where the demo finds its dataset, its models and its figures: in the environment, else in the header of its README.

MIS_DATASET          folder or Hub id; else the first of `datasets` in the header
MIS_BASE             folder or Hub id of the base; else the first of `models`
MIS_ADAPTER          folder or Hub id of the adapter; else the second of `models`; `none`: there is no adapter
MIS_THINGS           JSON, row id -> names of its two things; else things.json beside this file, where it is there
MIS_RESULTS          leaderboard.json; else the one beside this file or in the folder of the dataset
MIS_MAX_NEW_TOKENS   and the other limits of `LIMITS`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
NOBODY = "OWNER/"
"""Stands before names in the README until they are published; on the Hub, whose Space this is takes its place."""


class DemoError(Exception):
    """What goes wrong, in words for who sees it: a visitor, or whoever starts the demo."""


class Limit(NamedTuple):
    """A whole number that the environment may set: its default, and the least and the most that make sense."""

    default: int
    least: int
    most: int


LIMITS: Mapping[str, Limit] = {
    "MIS_MAX_NEW_TOKENS": Limit(64, 1, 2048),
    "MIS_MAX_QUESTION": Limit(500, 20, 10_000),
    "MIS_MAX_UPLOAD_MB": Limit(5, 1, 50),
    "MIS_MAX_MEGAPIXELS": Limit(16, 1, 100),
    "MIS_ASKS_PER_MINUTE": Limit(10, 1, 1000),
    "MIS_ASKS_PER_ADDRESS": Limit(30, 1, 10_000),
    "MIS_QUEUE": Limit(32, 1, 1000),
    "MIS_PAGE": Limit(6, 1, 50),
}
"""Tokens of a response, letters of a question, size of an upload in MB and in millions of pixels, questions of one
session and of one address in a minute, visitors that may wait, and rows on a page of the explorer."""


@dataclass(frozen=True)
class Settings:
    """What the demo shows and what it allows.

    Attributes:
        dataset: folder or Hub id of the built dataset.
        base: folder or Hub id of the base model.
        adapter: the same of the PEFT adapter; None: there is none, and one model is shown.
        things: file that names the two things of every row; None: they are not known.
        leaderboard: file of measured and published rates; None: there is none.
        limits: name in `LIMITS` -> its value.
        behind: it is a Space of the Hub, whose proxy says who asks.
    """

    dataset: str
    base: str
    adapter: str | None
    things: Path | None
    leaderboard: Path | None
    limits: Mapping[str, int]
    behind: bool = False


def read_settings(environment: Mapping[str, str], folder: Path = HERE) -> Settings:
    """Reads the settings of a demo.

    Args:
        environment: such as `os.environ`.
        folder: of the demo, with its README.md.

    Raises:
        DemoError: A limit is no such number, a file that was named is not there, or nothing names the dataset or the
            base.
    """
    header = read_header(folder / "README.md")
    models, datasets = (_owned(header.get(key), environment) for key in ("models", "datasets"))
    dataset = _named(environment, "MIS_DATASET", datasets, 0)
    base = _named(environment, "MIS_BASE", models, 0)
    if dataset is None or base is None:
        missing = "MIS_DATASET" if dataset is None else "MIS_BASE"
        raise DemoError(
            f"{missing} is not set, and the header of README.md names nothing; set it to a folder or Hub id"
        )
    # An adapter fits one base: where the base is named here, the header's adapter is that of another.
    adapter = _named(environment, "MIS_ADAPTER", [] if environment.get("MIS_BASE") else models, 1)
    return Settings(
        dataset=dataset,
        base=base,
        adapter=None if adapter == "none" else adapter,
        things=_file(environment, "MIS_THINGS", [folder / "things.json"]),
        leaderboard=_file(
            environment, "MIS_RESULTS", [folder / "leaderboard.json", Path(dataset).expanduser() / "leaderboard.json"]
        ),
        limits={name: _number(environment, name, limit) for name, limit in LIMITS.items()},
        behind=bool(environment.get("SPACE_ID")),
    )


def read_header(readme: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes; empty where there is none.

    Raises:
        DemoError: It is no YAML mapping.
    """
    if not readme.is_file():
        return {}
    parts = readme.read_text("utf-8").split("---\n", 2)
    if len(parts) < 3 or parts[0]:
        return {}
    try:
        header = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise DemoError(f"{readme.name}: its header is no YAML; mend it or copy the file anew") from error
    if not isinstance(header, dict):
        raise DemoError(f"{readme.name}: its header is no mapping; mend it or copy the file anew")
    return header


def _owned(listed: object, environment: Mapping[str, str]) -> list[str]:
    """A list of ids of the header; `SPACE_ID`, which the Hub sets, names the owner of those that have none yet."""
    owner, slash, _ = environment.get("SPACE_ID", "").partition("/")
    ids = [str(one) for one in listed] if isinstance(listed, list) else []
    return [f"{owner}/{one.removeprefix(NOBODY)}" if slash and one.startswith(NOBODY) else one for one in ids]


def _named(environment: Mapping[str, str], name: str, ids: list[str], place: int) -> str | None:
    """What the environment names, else an entry of a list of the header."""
    if environment.get(name, "").strip():
        return environment[name].strip()
    return ids[place] if place < len(ids) else None


def _file(environment: Mapping[str, str], name: str, places: list[Path]) -> Path | None:
    """The file that the environment names, else the first of some places that is there."""
    if environment.get(name, "").strip():
        path = Path(environment[name].strip()).expanduser()
        if not path.is_file():
            raise DemoError(f"{name}: there is no file {path}; name one that is there, or leave it away")
        return path
    return next((path for path in places if path.is_file()), None)


def _number(environment: Mapping[str, str], name: str, limit: Limit) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return limit.default
    if not text.isdecimal() or not limit.least <= int(text) <= limit.most:
        raise DemoError(f"{name} is {text!r}; set it to a whole number from {limit.least} to {limit.most}")
    return int(text)
