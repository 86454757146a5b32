"""How a release was constructed, as `mis_dataset build` carries it on beside the rows: `provenance/`.

All that the card says of it stands in these files; that they are of these very rows is checked, and so is what the card
cannot do without: the models, and the licence of every picture.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cards.facts import Dataset
from cards.reading import CardError, read_json
from cards.tables import table
from mis_dataset.errors import refuse_constant
from mis_dataset.files import sha256_of
from mis_dataset.schema import CONSTRUCTION, MADE, PICTURES, PROVENANCE

_KIND = "mis_dataset construct"
_AGAIN = "run `python -m mis_dataset construct` and `build` again"
_SCRIPTED = re.compile(r"\bscripted|scripted\b", re.IGNORECASE)
_DOES = {
    "text": "proposes what is shown and asked, words it, proposes twins, judges the words",
    "vision": "accepts or refuses pictures, judges rows by them, writes responses",
    "second": "judges rows by their pictures once more",
    "drawing": "draws the pictures",
    "judge 1": "judges responses",
    "judge 2": "judges responses",
}
"""Role of a model -> what it is asked for."""
_FINDERS = ("folder", "dataset")
"""Engines in place of a drawing model that find photographs."""


@dataclass(frozen=True)
class Construction:
    """How a release was made.

    Attributes:
        models: role -> name under which it was asked for.
        heard: role -> names under which it replied, as its endpoint says.
        version: of the instructions, with the beginning of their hash.
        seed: of the pictures.
        seeds: how many were read.
        sources: source and licence of seeds -> seeds.
        pictures: model as its endpoint names it, and licence -> pictures of the release.
        funnel: step or split -> rows.
        rejected: stage and reason -> rows.
        verdicts: expert and verdict -> rows that were judged.
        settings: of the whole, without those of the models.
        finds: whether pictures are photographs that were found, not drawn.
        found_in: dataset and commit that they are of; empty where it is a folder.
        own_judges: roles of judges that are the model which wrote the labels.
        unanswered: requests that got no reply though another day may bring one.
    """

    models: Mapping[str, str]
    heard: Mapping[str, tuple[str, ...]]
    version: str
    seed: int
    seeds: int
    sources: Mapping[tuple[str, str], int]
    pictures: Mapping[tuple[str, str], int]
    funnel: Mapping[str, int]
    rejected: Mapping[tuple[str, str], int]
    verdicts: Mapping[tuple[str, str], int]
    settings: Mapping[str, Any]
    finds: bool = False
    found_in: str = ""
    own_judges: tuple[str, ...] = ()
    unanswered: int = 0

    @property
    def scripted(self) -> list[str]:
        """Names of those models that are programs which play one."""
        return sorted({name for name in self._names() if _SCRIPTED.search(name)})

    @property
    def reviewed(self) -> int:
        """Judged rows that people decided on."""
        return sum(rows for (expert, _), rows in self.verdicts.items() if expert == "review")

    def _names(self) -> set[str]:
        heard = (name for names in self.heard.values() for name in names)
        return {*self.models.values(), *heard, *(model for model, _ in self.pictures)}


def read_construction(folder: Path, dataset: Dataset, files: Mapping[str, str]) -> Construction | None:
    """Reads how a built dataset was constructed.

    Args:
        folder: of the dataset.
        dataset: its rows.
        files: of its manifest, with their sha256.

    Returns:
        None where it was not constructed.

    Raises:
        CardError: a file is missing, is not as it was built, is of other rows, or does not say what a card must.
    """
    if not any(name in files or (folder / name).exists() for name in MADE):
        return None
    for name in MADE:
        if not (folder / name).is_file() or sha256_of(folder / name) != files.get(name):
            raise CardError(f"{folder / name}: is missing or not as it was built; {_AGAIN}")
    _check_rows(folder / PROVENANCE, dataset)
    path = folder / CONSTRUCTION
    told = read_json(path)
    try:
        return _construction(told, _pictures(folder / PICTURES))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CardError(f"{path}: does not say how the release was made ({error!r}); {_AGAIN}") from error


def refuse_constructed(folder: Path) -> None:
    """Refuses a constructed dataset where a card of MIS-mini is to be written.

    Raises:
        CardError: it was constructed.
    """
    if any((folder / name).exists() for name in MADE):
        raise CardError(
            f"{folder}: was constructed, and its card is no card of MIS-mini; write it by `python -m cards dataset "
            f"{folder} {folder}`, and publish that folder by `python -m cards push`"
        )


def tables_of(made: Construction) -> dict[str, Any]:
    """What a card shows of a construction, as tables and words."""
    does = _DOES | ({"drawing": "finds the pictures"} if made.finds else {})
    does |= {role: f"{does.get(role, '')}, and is the model that wrote the labels" for role in made.own_judges}
    roles = [
        [role, does.get(role, ""), f"{name}{_mark(name)}", ", ".join(made.heard[role]) or "not named"]
        for role, name in made.models.items()
    ]
    pictures = [[f"{name}{_mark(name)}", licence, number] for (name, licence), number in made.pictures.items()]
    return {
        "made": made,
        "models": table(["role", "what it is asked for", "asked for as", "replied as"], roles),
        "drawn": table(
            ["found by" if made.finds else "drawn by, as its endpoint says", "licence", "pictures"], pictures
        ),
        "seeds": table(["source", "licence", "seeds"], _flat(made.sources)),
        "funnel": table(["step", "rows"], list(made.funnel.items())),
        "rejected": table(["stage", "reason", "rows"], _flat(made.rejected)),
        "verdicts": table(["expert", "verdict", "rows"], _flat(made.verdicts)),
    }


def _construction(told: Mapping[str, Any], pictures: Mapping[tuple[str, str], int]) -> Construction:
    if told["kind"] != _KIND:
        raise ValueError("another kind")
    settings = told["settings"]
    roles = {name: one for name, one in settings.items() if isinstance(one, dict) and "model" in one}
    roles |= {f"judge {place}": one for place, one in enumerate(settings["judges"], start=1)}
    engine = settings["drawing"].get("engine", "")
    # What draws or finds here is told no instructions.
    versions = {_text(one["version"]) for role, one in roles.items() if role != "drawing" or not engine}
    if len(versions) != 1:
        raise ValueError("models of several versions of the instructions")
    asked = f"not named, asked for as {roles['drawing']['model']}"
    counts = {name: sum(map(_count, found.values())) for name, found in {**told["steps"], **told["splits"]}.items()}
    return Construction(
        models={role: _text(one["model"]) for role, one in roles.items()},
        heard={role: tuple(map(_text, told["heard"][role])) for role in roles},
        version=versions.pop(),
        seed=_count(settings["seed"]),
        seeds=counts["seeds"],
        sources={(_text(one), two or "not stated"): _count(number) for one, two, number in told["sources"]},
        pictures={(one or asked, two): n for (one, two), n in pictures.items()},
        funnel=counts,
        rejected={(one["stage"], one["reason"]): _count(one["rows"]) for one in told["rejected"]},
        verdicts={(one, two): _count(n) for one, found in told["verdicts"].items() for two, n in found.items()},
        settings={name: one for name, one in settings.items() if name not in (*roles, "judges")},
        finds=engine in _FINDERS,
        found_in=_found_in(settings["drawing"]) if engine == "dataset" else "",
        unanswered=sum(map(_count, told["unanswered"].values())),
        own_judges=tuple(role for role, one in roles.items() if one.get("wrote_labels")),
    )


def _found_in(drawing: Mapping[str, Any]) -> str:
    return f"{_text(drawing['hub'])}@{_text(drawing['photographs']['commit'])}, split {_text(drawing['split'])}"


def _check_rows(path: Path, dataset: Dataset) -> None:
    """That it tells of as many rows of each split as there are; its hash tells that it is as it was built."""
    counts = Counter(str(line.get("id")).split("/")[0] for line in _lines(path))
    rows = {split.name: split.rows for split in dataset.splits}
    if counts != rows:
        raise CardError(f"{path}: tells of {dict(counts)}, the Parquet holds {rows}; {_AGAIN}")


def _pictures(path: Path) -> dict[tuple[str, str], int]:
    """Pictures of the release by model and licence."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in _lines(path):
        if not isinstance(line.get("licence"), str) or not line["licence"].strip():
            raise CardError(f"{path}: a picture of {line.get('id')!a} has no licence; set `licence` and {_AGAIN}")
        counts[str(line.get("model") or ""), line["licence"]] += 1
    return dict(counts.most_common())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line, parse_constant=refuse_constant)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                raise CardError(f"{path}: line {number} is no JSON object; {_AGAIN}")
            yield found


def _flat(counts: Mapping[tuple[str, str], int]) -> list[list[object]]:
    return [[*names, number] for names, number in counts.items()]


def _mark(name: str) -> str:
    return " (a program that plays a model)" if _SCRIPTED.search(name) else ""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("an empty name")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
