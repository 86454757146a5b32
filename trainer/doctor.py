"""Looks at all rows of a training as the model is going to see them, before any weight is loaded.

The rows are those of `sft` with the same flags. Each is rendered with the checkpoint's own processor and chat template
as TRL's collator does it (`trainer.preflight.rendered`); rows are compared with each other and with the tests. BASE
needs no weights: config, tokenizer and processor are enough. It exits 1 where there are errors, 0 where there are
warnings only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.arguments import positive, seed
from trainer.files import beside_weights
from trainer.preflight.diagnosis import Fault, counts, summarize, table
from trainer.recipe import add_arguments as add_recipe
from trainer.recipe import read_recipe
from trainer.sidecars import make_sidecar, write_derived
from trainer.training.rows import training_rows

if TYPE_CHECKING:
    from datasets import Dataset

    from trainer.preflight.openings import Told
    from trainer.preflight.rendered import Settings
    from trainer.preflight.seen import Seen

MANY = 5
"""Rows with one completion from which on they are told, where they are `SHARE` of all."""
SHARE = 0.05
_LONGEST = 10
_BINS = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``doctor``."""
    parser.add_argument("base", type=Path, metavar="BASE", help="checkpoint to start from; needs no weights")
    parser.add_argument("dataset", type=Path, metavar="MIS", help="folder of the built dataset")
    add_recipe(parser)
    parser.add_argument("--said", type=Path, help="said.jsonl of the base: text-only rows")
    parser.add_argument("--seed", type=seed, default=0, help="default %(default)s")
    parser.add_argument("--limit", type=positive, help="at most so many dangerous rows, each with its twin")
    parser.add_argument("--leaks", type=Path, metavar="FILE", help="what `mis_dataset leaks` wrote; else texts alone")
    parser.add_argument("--render", type=positive, default=64, metavar="N", help="rows rendered pixels and all (64)")
    parser.add_argument("--num-proc", type=positive, metavar="N", help="processes (default: cores, up to 8)")
    parser.add_argument("--arm", type=Path, default=Path(), metavar="OUT", help="what sft writes: has its disk room?")
    parser.add_argument("--out", type=Path, metavar="FILE", help="doctor.json: all ids, lengths and openings")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Looks at the rows, prints what is wrong to stderr, and writes all of it where asked.

    Raises:
        MISError: The recipe is wrong, BASE or MIS is none, or --leaks is of another dataset.
    """
    from trainer.families import training_limits
    from trainer.preflight.rendered import Settings
    from trainer.preflight.room import disk_faults, memory_faults

    recipe, config = read_recipe(args.config, args.arm, args.seed, args.override)
    rows = training_rows(args.dataset, recipe, args.seed, args.limit, args.said)
    limits = training_limits(args.base, recipe.max_tiles, recipe.max_pixels)
    settings = Settings(args.base, config.completion_only_loss, limits)
    found = examine(rows, args.dataset, settings, args.leaks, args.render, args.num_proc or min(os.cpu_count() or 1, 8))
    faults = [*found["findings"], *disk_faults(args.base, args.arm, recipe, config, len(rows))]
    told = found["findings"] = summarize([*faults, *memory_faults(config, found["batch_bytes"])])
    print(_lengths(found["tokens"]), table(told), sep="\n", file=sys.stderr)
    if args.out:
        written = {name: getattr(args, name) for name in ("seed", "limit", "render")} | asdict(recipe)
        inputs = [args.dataset / "MANIFEST.json", args.config, *args.override, *filter(None, (args.said, args.leaks))]
        sidecar = make_sidecar(args.out, "doctor", written, [*inputs, *beside_weights(args.base)])
        write_derived(args.out, found, sidecar)
    errors, warnings = counts(told, error=True), counts(told, error=False)
    return {"passed": not errors, "rows": found["rows"], "errors": errors, "warnings": warnings}


def examine(
    rows: Dataset, dataset: Path, settings: Settings, leaks: Path | None = None, whole: int = 64, num_proc: int = 1
) -> dict[str, Any]:
    """Looks at every row by itself, at all rows beside each other, and at those that stand in tests.

    Args:
        rows: as `trainer.training.rows.training_rows` gives them.
        dataset: folder of the built dataset.
        settings: of the rendering.
        leaks: what ``python -m mis_dataset leaks`` wrote; None: questions alone are compared.
        whole: how many rows are given to TRL's collator in any case.
        num_proc: processes; more than one only under ``if __name__ == "__main__"``.

    Returns:
        ``rows``, ``kinds`` (kind -> rows), ``rendered`` (rows that the collator was given), ``batch_bytes`` (of the
        largest of them), ``tokens``, ``openings``, and ``findings``: all `Fault`.

    Raises:
        MISError: BASE or MIS is none, `leaks` is of another dataset, or a process was killed.
    """
    from mis_dataset.built import files_of, rows_of
    from mis_dataset.schema import TRAIN
    from trainer.preflight import overlap
    from trainer.preflight.rendered import Renderer
    from trainer.preflight.seen import see

    twin_of = {row["id"]: row["twin_of"] for row in rows_of(files_of(dataset)[TRAIN], ("id", "twin_of"))}
    renderer = Renderer(settings)
    seen = [*see(rows, twin_of, renderer, whole, num_proc)]
    trained = [one.trained for one in seen]
    told = _openings(seen)
    faults = [*renderer.model_faults(), *(fault for one in seen for fault in one.rendered.faults)]
    faults += [*_twice(seen), *_alike(seen), *_giveaways(told), *overlap.rows_of_tests(trained, dataset)]
    faults += overlap.known_leaks(trained, dataset, leaks) if leaks else overlap.text_leaks(trained, dataset)
    return {
        "rows": len(seen),
        "kinds": dict(Counter(one.kind for one in seen)),
        "rendered": sum(one.rendered.batch_bytes is not None for one in seen),
        "batch_bytes": max((one.rendered.batch_bytes or 0 for one in seen), default=0),
        "tokens": _tokens(seen),
        "openings": [{"against": kind} | one._asdict() for kind, held in told.items() for one in held],
        "findings": faults,
    }


def _twice(seen: Sequence[Seen]) -> Iterator[Fault]:
    times = Counter(one.trained.id for one in seen)
    for id_, number in times.items():
        if number > 1:
            yield Fault("id", id_, f"is the id of {number} rows")


def _alike(seen: Sequence[Seen]) -> Iterator[Fault]:
    held: dict[str, list[str]] = defaultdict(list)
    for one in seen:
        held[one.completion].append(one.trained.id)
    for ids in held.values():
        if len(ids) >= max(MANY, SHARE * len(seen)):
            yield from (Fault("alike", id_, f"has the completion of {len(ids) - 1} other rows") for id_ in ids)


def _openings(seen: Sequence[Seen]) -> dict[str, list[Told]]:
    """Kind of harmless rows -> how well first words tell dangerous rows from them."""
    from trainer.preflight.openings import tell

    of = {kind: [one.opening for one in seen if one.kind == kind] for kind in ("dangerous", "twin", "general")}
    return {kind: tell(of["dangerous"], of[kind]) for kind in ("twin", "general")}


def _giveaways(told: dict[str, list[Told]]) -> Iterator[Fault]:
    """Of each kind of harmless rows the fewest words that tell."""
    from trainer.preflight.openings import TOLD

    for kind, held in told.items():
        one = next((one for one in held if one.low > TOLD), None)
        if one is not None:
            rows = f"{one.dangerous} dangerous rows from {one.harmless} {kind} rows"
            said = f"begins with {one.words} words that tell {rows}: AUC {one.auc:.2f} ({one.low:.2f}-{one.high:.2f})"
            ids: list[str | None] = [*one.ids] or [None]
            yield from (Fault(f"{kind}_opening", id_, said) for id_ in ids)


def _tokens(seen: Sequence[Seen]) -> dict[str, Any]:
    """Lengths of all rows that can be rendered: ``histogram`` has ``[from, to, rows]``, the end not included."""
    lengths = {one.trained.id: one.rendered.tokens for one in seen if one.rendered.tokens is not None}
    longest = sorted(lengths.items(), key=lambda one: -one[1])[:_LONGEST]
    whole = sum(lengths.values())
    width = 1 << max(0, (longest[0][1] // _BINS).bit_length()) if longest else 1
    bins = sorted(Counter(tokens // width for tokens in lengths.values()).items())
    return {
        "mean": whole / len(lengths) if lengths else None,
        "longest": [list(one) for one in longest],
        "image_share": sum(one.rendered.image_tokens for one in seen) / whole if whole else None,
        "histogram": [[place * width, (place + 1) * width, number] for place, number in bins],
    }


def _lengths(tokens: dict[str, Any]) -> str:
    """The histogram as lines for a terminal."""
    most = max((number for _, _, number in tokens["histogram"]), default=1)
    lines = [
        f"{low:7}-{high - 1:<7}{number:7} {'#' * -(-40 * number // most)}" for low, high, number in tokens["histogram"]
    ]
    longest = ", ".join(f"{id_} ({number})" for id_, number in tokens["longest"][:3])
    if longest:
        lines.append(f"tokens a row; {tokens['image_share']:.0%} are of pictures; longest: {longest}")
    return "\n".join(lines)
