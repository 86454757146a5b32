"""Verb `report`: what a run measured -> report.json, report.html and plots/.

Rates are those of each score.json; what has none (probes, doses, before) is scored here, by the same function.
docs/report.md describes report.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mis_dataset.files import to_json
from trainer.artefacts import Response, Verdict, read
from trainer.figures import Run
from trainer.files import ArtefactError, read_json, read_lines, replaced, sha256_of
from trainer.findings import READABLE
from trainer.gates.callback import UNSCORED
from trainer.page import CAPTIONS, Example, Side, render
from trainer.plots import draw
from trainer.questions import (
    TESTED,
    RowFacts,
    data_version,
    is_mis,
    read_parquet,
    read_rows,
    rows_file,
    rows_sha256,
    split_of,
    twins,
)
from trainer.score import ABILITIES, score
from trainer.sheet import png_uri
from trainer.sidecars import Sidecar, is_from, make_sidecar, read_sidecar, sidecar_path, write_sidecar
from trainer.stations import by_station, read_attempts

REPORT_VERSION = "1-d"
"""The number changes when figures stop being comparable, the letter when keys do."""
MODELS = ("base", "mirage", "contrast", "refusal")
OPTIONAL_MODELS = ("shuffled",)
_MEASURED = ("responses.jsonl", "verdicts.jsonl", "score.json")
AFTER = ("report", "cards", "bars", "seeds")
"""Stations that come after the figures: a report that held them would differ at every run."""
_STYLES = {"trained": ("easy", "hard"), "real": ("real",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run; report.json and others go there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write what differs from what is there.

    Raises:
        ArtefactError: A file that the report needs is missing or broken, or models were measured differently.
    """
    folder: Path = args.run
    refuse_missing(folder)
    report = gather(folder)
    plots = draw(report, {arm: _log(folder / "arms" / arm / "log.jsonl") for arm in _arms(folder)})
    page = render(report, plots, examples(folder, report["models"]))
    made = {"report.json": to_json(report).encode(), "report.html": page.encode()}
    made |= {f"plots/{name}": png for name, png in plots.items()}
    for stale in set(CAPTIONS) - set(plots):
        (folder / "plots" / stale).unlink(missing_ok=True)
    written = [name for name, content in made.items() if replaced(folder / name, content)]
    path = folder / "report.json"
    sidecar = make_sidecar(path, "report", {"report_version": REPORT_VERSION}, _read(folder))
    if "report.json" in written or not is_from(path, sidecar):
        write_sidecar(path, sidecar)
    return {"report": str(folder / "report.json"), "page": str(folder / "report.html"), "written": len(written)}


def refuse_missing(folder: Path) -> None:
    """See that everything required is there.

    Raises:
        ArtefactError: One error that names all that is missing.
    """
    needed = [folder / "MIS" / "data", folder / "stations.jsonl", sidecar_path(folder / "base" / "model")]
    for model in _models(folder):
        names = ("responses.jsonl", "verdicts.jsonl", "score.json")
        needed += [folder / "eval" / model / name for name in names]
    for arm in _arms(folder):
        needed += [folder / "arms" / arm / "log.jsonl", sidecar_path(folder / "arms" / arm / "model")]
    missing = [path.relative_to(folder).as_posix() for path in needed if not path.exists()]
    if missing:
        raise ArtefactError(
            f"{folder}: {len(missing)} files that a report needs are missing: {', '.join(missing)}; "
            "run `python -m trainer reproduce` on this folder"
        )


def gather(folder: Path) -> dict[str, Any]:
    """Everything a report says, as report.json holds it.

    Args:
        folder: The run.

    Returns:
        See docs/report.md.

    Raises:
        ArtefactError: A file is broken, or models were generated or judged with different settings.
    """
    models = {model: read_json(folder / "eval" / model / "score.json") for model in _models(folder)}
    base = read_sidecar(folder / "base" / "model").settings
    naming = _naming(folder / "base" / "model", base)
    before = folder / "eval" / "before"
    return {
        "report_version": REPORT_VERSION,
        "dataset": _dataset(folder / "MIS"),
        "versions": _versions(folder),
        "models": models,
        **({"before": _rates(folder, before)} if (before / "verdicts.jsonl").is_file() else {}),
        "probes": {path.name: _rates(folder, path) for path in sorted((folder / "probes").glob("*/"))},
        "dose": _doses(folder, models),
        "naming": naming,
        "marked": [split for style, splits in _STYLES.items() for split in splits if naming[style] < READABLE],
        "contrast_minus": _contrast_minus(folder),
        "ability_minus_base": _ability_minus_base(folder),
        "agreement": _agreement(folder),
        "settings": {
            "base": base,
            "arms": {arm: read_sidecar(folder / "arms" / arm / "model").settings for arm in _arms(folder)},
            "generate": _shared_settings(folder, "responses.jsonl"),
            "judge": _shared_settings(folder, "verdicts.jsonl"),
        },
        "hashes": _hashes(folder),
        "stations": _stations(folder / "stations.jsonl"),
    }


def examples(folder: Path, models: Iterable[str]) -> list[Example]:
    """One row of easy and of real and one of every level of hard, each beside its twin.

    A row is chosen by the hash of its id, so that nobody chose it and every run shows the same.
    """
    rows = read_rows(folder / "MIS")
    pairs = twins(rows)
    chosen = _chosen(row for row in rows.values() if row.id in pairs)
    pictures = _pictures(folder / "MIS", {id_ for row in chosen for id_ in (row.id, pairs[row.id])})
    said = {model: _said(folder / "eval" / model) for model in models}

    def side(id_: str) -> Side:
        uris, changed = pictures[id_]
        return Side(id_, uris, changed, tuple((model, *found[id_]) for model, found in said.items() if id_ in found))

    return [
        Example(row.question, TESTED[row.id.split("/")[0]], row.level, side(row.id), side(pairs[row.id]))
        for row in chosen
    ]


def _dataset(folder: Path) -> dict[str, Any]:
    """Which rows were asked about, as comparison.json says it."""
    rows = read_rows(folder)
    counts = Counter(split_of(id_) for id_ in rows)
    return {"sha256": rows_sha256(folder), "mis": is_mis(rows), "rows": dict(counts)}


def _versions(folder: Path) -> dict[str, str | None]:
    """Of the rows, of the metrics that counted, of the judge; None where a file of before versions does not say."""
    counted = {_setting(folder / "eval" / model / "score.json", "metric_version") for model in _models(folder)}
    return {
        "data": data_version(folder / "MIS"),
        "metric": counted.pop() if len(counted) == 1 else None,
        "judge": _shared_settings(folder, "verdicts.jsonl").get("judge_version"),
    }


def _setting(path: Path, name: str) -> str | None:
    found = read_sidecar(path).settings.get(name) if sidecar_path(path).is_file() else None
    return None if found is None else str(found)


def _naming(path: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    """Style -> share of its pictures that the base's vision tower names, before the stage with the language model."""
    try:
        return {style: float(settings["naming"][style]) for style in _STYLES}
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"{sidecar_path(path)}: settings.naming gives no share for {' and '.join(_STYLES)} ({error!r}); make the "
            "base anew"
        ) from error


def _models(folder: Path) -> list[str]:
    return [*MODELS, *(model for model in OPTIONAL_MODELS if (folder / "eval" / model).is_dir())]


def _arms(folder: Path) -> list[str]:
    return [model for model in _models(folder) if model != "base"]


def _rates(folder: Path, judged: Path) -> dict[str, Any]:
    """Rates of a folder of verdicts that may hold a part of the test rows."""
    if (judged / "score.json").is_file():
        return read_json(judged / "score.json")
    return score(judged / "verdicts.jsonl", folder / "MIS", partial=True)


def _doses(folder: Path, models: Mapping[str, Any]) -> dict[str, Any]:
    """Rows -> pair accuracy on new pairs of hard, from 0 (base) to all (contrast)."""
    found = {path.name: path for path in (folder / "dose").glob("*/") if path.name.isdecimal()}
    rates = {"0": models["base"]}
    rates |= {name: _rates(folder, found[name]) for name in sorted(found, key=int) if int(name)}
    rates |= {"all": models["contrast"]}
    return {rows: one["levels"]["new_pairs"]["pair_accuracy"]["hard"] for rows, one in rates.items()}


def _contrast_minus(folder: Path) -> dict[str, Any]:
    """Model -> lower 95 % bound of the paired difference in pair accuracy on new pairs of hard."""
    measured = Run(folder)
    found = {}
    for model in _models(folder):
        if model != "contrast":
            low = measured.pair_difference("contrast", model, "hard", "new_pairs")
            found[model] = {"low": low.value, "n": low.n}
    return found


def _ability_minus_base(folder: Path) -> dict[str, Any]:
    """Arm -> kind -> paired difference in ability, marked anew; arms without ability.jsonl are left out."""
    there = [model for model in _models(folder) if (folder / "eval" / model / "ability.jsonl").is_file()]
    if "base" not in there:
        return {}
    measured = Run(folder)
    return {
        arm: {kind: measured.paired_ability(arm, "base", kind)._asdict() for kind in ABILITIES}
        for arm in there
        if arm != "base"
    }


def _agreement(folder: Path) -> dict[str, Any]:
    """Kappa of two judges for every model that has it; the judges against readers, where the run has labels."""
    files = {model: folder / "eval" / model / "agree.json" for model in _models(folder)}
    found = {model: read_json(path) for model, path in files.items() if path.is_file()}
    labels = [one["labels"] for one in found.values() if one.get("labels")]
    return {
        "models": {model: {"judges": one["judges"], **one["all"]} for model, one in found.items()},
        "labels": labels[0] if labels else None,
    }


def _shared_settings(folder: Path, name: str) -> dict[str, Any]:
    """Settings that all models were measured with."""
    found = {model: read_sidecar(folder / "eval" / model / name).settings for model in _models(folder)}
    for model, settings in found.items():
        if settings != found["base"]:
            raise ArtefactError(
                f"{folder / 'eval'}: {name} of {model} was made with {settings}, that of base with {found['base']}; "
                "rates of both cannot be compared, make one of them anew"
            )
    return found["base"]


def _hashes(folder: Path) -> dict[str, str]:
    """sha256 of what was measured, and of all that it was made from, as the sidecars give it.

    Raises:
        ArtefactError: A file of the run is missing, or no longer what another one was made from.
    """
    measured = [f"eval/{model}/{name}" for model in _models(folder) for name in _MEASURED]
    found = {name: sha256_of(folder / name) for name in measured}
    for part in ("eval", "probes", "dose"):
        for path in sorted((folder / part).glob("*/*.meta.json")):
            made = path.with_name(path.name.removesuffix(".meta.json"))
            for file, sha in _inputs(read_sidecar(made), f"{part}/{path.parent.name}").items():
                if not file.startswith("..") and file not in found:
                    found[file] = sha256_of(folder / file) if (folder / file).exists() else "missing"
                if found.setdefault(file, sha) != sha:
                    raise ArtefactError(
                        f"{folder / file}: changed after another file was made from it ({made}); "
                        "remove what was made from it and run `python -m trainer reproduce` on the run"
                    )
    return dict(sorted(found.items()))


def _inputs(sidecar: Sidecar, folder: str) -> dict[str, str]:
    # normpath, not resolve(): an input may lie beside the run, and its name must not hang on the machine.
    return {Path(os.path.normpath(f"{folder}/{name}")).as_posix(): sha for name, sha in sidecar.inputs.items()}


def _stations(path: Path) -> dict[str, Any]:
    """Station -> seconds of all its attempts together, the most memory of any, and how many were cut short, untimed."""
    return {
        name: {
            "seconds": sum(one.seconds or 0.0 for one in attempts),
            "peak_memory_bytes": max(one.peak_memory_bytes for one in attempts),
            "cut": sum(one.seconds is None for one in attempts),
        }
        for name, attempts in by_station(read_attempts(path)).items()
        if name not in AFTER
    }


def _log(path: Path) -> list[dict[str, Any]]:
    """The steps of a training."""
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            entry = json.loads(line)
            if UNSCORED in entry:
                continue  # a gate asked there
            found.append({"step": int(entry["step"]), "loss": float(entry["loss"])})
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ArtefactError(f"{path}: line {number} is no step and loss ({error!r}); train the arm anew") from error
    return found


def _chosen(rows: Iterable[RowFacts]) -> list[RowFacts]:
    """Of every split, and of every level of hard, the row whose id has the smallest hash."""
    first: dict[tuple[str, str | None], RowFacts] = {}
    for row in sorted(rows, key=lambda one: sha256(one.id.encode()).digest()):
        split = TESTED[row.id.split("/")[0]]
        first.setdefault((split, row.level if split == "hard" else None), row)
    order = list(TESTED.values())
    return [first[key] for key in sorted(first, key=lambda key: (order.index(key[0]), key[1] or ""))]


def _pictures(dataset: Path, ids: set[str]) -> dict[str, tuple[tuple[str, str], int | None]]:
    """Id -> both pictures as data URIs, and which one a twin exchanged."""
    found: dict[str, tuple[tuple[str, str], int | None]] = {}
    for file in sorted((dataset / "data").glob("test_*.parquet")):
        for row in read_parquet(file, ("id", "images", "changed_image"), ids):
            first, second = (png_uri(picture["bytes"]) for picture in row["images"])
            found[row["id"]] = ((first, second), row["changed_image"])
    return found


def _said(folder: Path) -> dict[str, tuple[str, str]]:
    """Id -> response and verdict."""
    verdicts = {one.id: one.verdict for one in read(folder / "verdicts.jsonl", Verdict)}
    responses = read(folder / "responses.jsonl", Response)
    return {one.id: (one.response, verdicts[one.id]) for one in responses if one.id in verdicts}


def _read(folder: Path) -> list[Path]:
    """What the report's sidecar names: one file of rates a model, and the dataset."""
    return [rows_file(folder / "MIS"), *(folder / "eval" / model / "score.json" for model in _models(folder))]
