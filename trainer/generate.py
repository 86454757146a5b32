"""Verb `generate`: a model and rows -> responses.jsonl.

Greedy and batched; rows of similar length share a batch, and the file is in the rows' own order all the same. Rows
that ask the same about the same pictures, such as a row and its twin without pictures, are asked once.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm.auto import tqdm

from mis_dataset.arguments import positive
from mis_dataset.chat import prompt
from mis_dataset.errors import MISError
from mis_dataset.mini.objects import THINGS
from mis_dataset.schema import SPLITS
from trainer.artefacts import Response, open_artefact
from trainer.benchmarks import NAMES
from trainer.files import adapter_files, checkpoint_files
from trainer.questions import read_things
from trainer.rows import read_split

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image
    from transformers import PreTrainedModel, ProcessorMixin

Pictures = Literal["own", "black", "none", "named"]
TEST_SPLITS = tuple(split for split in SPLITS if split != "train")


@dataclass(frozen=True)
class Prompt:
    """One question and its pictures (none for text only)."""

    id: str
    question: str
    pictures: tuple[Image, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``generate``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint")
    parser.add_argument("dataset", type=Path, metavar="MIS", help="folder of the built dataset")
    parser.add_argument("out", type=Path, metavar="RESPONSES", help="responses.jsonl")
    parser.add_argument("--adapter", type=Path, help="PEFT adapter on top of MODEL")
    parser.add_argument("--splits", nargs="+", default=list(TEST_SPLITS), choices=(*TEST_SPLITS, *NAMES))
    parser.add_argument("--only", choices=["hard"], help="rows of this split and their twins")
    parser.add_argument("--level", help="rows of this level only")
    parser.add_argument(
        "--pictures",
        choices=["own", "black", "none", "named"],
        default="own",
        help="probe: the picture that twins share black, text only, or text that names the things",
    )
    parser.add_argument("--things", type=Path, help="RAW/mini/objects.json, for --pictures named")
    parser.add_argument("--max-new-tokens", type=positive, default=1024)
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--limit", type=positive, help="the first N rows of every split")
    parser.add_argument("--float32", action="store_true", help="also where the device has units for bfloat16")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Generates what is missing.

    Raises:
        MISError: MODEL or MIS is none, or RESPONSES was begun with other settings.
    """
    chosen = list(read_prompts(args.dataset, args.splits, args.pictures, args.limit, args.only, args.level))
    if args.pictures == "named":
        chosen = _named(chosen, args.things)
    # Not the batch size: greedy, in float32 and padded on the left, a batch says what its rows say one by one (a test
    # holds it; in bfloat16 all but near ties). Who wants other batches can so go on with the same file.
    names = ("splits", "pictures", "limit", "only", "level", "max_new_tokens", "float32")
    settings = {name: getattr(args, name) for name in names}
    inputs = [*checkpoint_files(args.model), args.dataset / "MANIFEST.json"]
    inputs += adapter_files(args.adapter) if args.adapter else []
    inputs += [args.things] if args.things else []
    artefact = open_artefact(args.out, Response, settings, inputs)
    missing = len({one.id for one in chosen} - artefact.done)
    if missing:
        from trainer import models

        model, processor = models.load(args.model, args.adapter, float32=args.float32)
        artefact.made_on(models.place_of(model))
        for rows in generate(model, processor, chosen, args.max_new_tokens, args.batch_size, artefact.done):
            artefact.append(rows)
    artefact.finish([one.id for one in chosen])
    return {"responses": str(args.out), "n": len(chosen), "generated": missing}


def read_prompts(
    dataset: Path,
    splits: list[str],
    pictures: Pictures = "own",
    limit: int | None = None,
    only: str | None = None,
    level: str | None = None,
) -> Iterator[Prompt]:
    """The test rows to ask about.

    Args:
        dataset: folder of the built dataset.
        splits: names of test splits; one that the dataset lacks is an error.
        pictures: ``own``, ``black`` (the picture that a row and its twin share is black: what the other one alone
            can decide), ``none`` or ``named`` (text only: a row and its twin become the same prompt).
        limit: the first so many rows of every split.
        only: ``hard``: rows of this test split and the twins of its rows.
        level: rows of this level only.

    Raises:
        MISError: A split is missing, or no row is left.
    """
    found = False
    exchanged = _exchanged(dataset) if pictures == "black" else {}
    for split in splits:
        rows = read_split(dataset, split)
        wanted = [
            number
            for number, row in enumerate(rows.select_columns(["id", "twin_of", "level"]))
            if _is_wanted(row, only, level)
        ]
        chosen = rows.select(wanted[:limit])
        ids = chosen["id"][:]
        for number, id_ in enumerate(ids):
            found = True
            row = _decoded(chosen, number, f"{dataset}: {id_}")
            yield Prompt(row["id"], row["question"], _probe(row["images"], pictures, exchanged.get(row["id"])))
    if not found:
        raise MISError(f"{dataset}: no row in {splits} is left (only={only}, level={level})")


def _decoded(rows: Dataset, number: int, where: str) -> dict[str, Any]:
    """A row with its pictures, every pixel of them.

    Raises:
        MISError: A picture is broken, which `build` without ``--check`` does not see.
    """
    try:
        row: dict[str, Any] = rows[number]
        for picture in row["images"]:
            picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise MISError(
            f"{where}: a picture is broken ({found}); run `python -m mis_dataset check` on its release"
        ) from error
    return row


def generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    prompts: list[Prompt],
    max_new_tokens: int,
    batch_size: int,
    done: Collection[str] = (),
) -> Iterator[list[Response]]:
    """Responses batch by batch, the longest prompts first, so that what memory allows is known at once.

    Prompts that are equal but for their ids are asked once, and each of the ids gets the response. Ids in `done` are
    left out, but every batch holds what it would hold without them: in bfloat16 that may decide a near tie, and who
    goes on after an interruption shall get the same responses.
    """
    equal: dict[tuple[object, ...], list[Prompt]] = {}
    for one in prompts:
        equal.setdefault(_content(one), []).append(one)
    ordered = sorted(equal.values(), key=lambda group: (len(group[0].pictures), len(group[0].question)), reverse=True)
    with tqdm(total=len(prompts), initial=len(done), desc="generate") as bar:
        # Text-only prompts cannot share a processor call with others; sorting has put them last.
        for with_pictures in (True, False):
            rest = [group for group in ordered if bool(group[0].pictures) == with_pictures]
            for start in range(0, len(rest), batch_size):
                groups = rest[start : start + batch_size]
                missing = {one.id for group in groups for one in group}.difference(done)
                if not missing:
                    continue
                said = _respond(model, processor, [group[0] for group in groups], max_new_tokens)
                rows = [replace(row, id=one.id) for row, group in zip(said, groups, strict=True) for one in group]
                rows = [row for row in rows if row.id in missing]
                yield rows
                bar.update(len(rows))


def _content(one: Prompt) -> tuple[object, ...]:
    """Question and pictures, told apart by their pixels."""
    pixels = [(each.tobytes(), bytes(each.getpalette() or ())) for each in one.pictures]
    digests = [sha256(indices + palette).digest() for indices, palette in pixels]
    return one.question, *((each.mode, each.size, digest) for each, digest in zip(one.pictures, digests, strict=True))


def _respond(model: PreTrainedModel, processor: Any, batch: list[Prompt], max_new_tokens: int) -> list[Response]:
    import torch

    texts = [
        processor.apply_chat_template(prompt(one.question, len(one.pictures)), add_generation_prompt=True)
        for one in batch
    ]
    images = [list(one.pictures) for one in batch] if batch[0].pictures else None
    inputs = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    # On a CPU the default cache is copied whole at every token, an eighth of the time; on a GPU "static" would compile.
    cache = "static" if model.device.type == "cpu" else None
    with torch.inference_mode():
        made = model.generate(
            **inputs.to(model.device), max_new_tokens=max_new_tokens, do_sample=False, cache_implementation=cache
        )
    ends = set(_as_list(model.generation_config.eos_token_id))
    rows = []
    for one, ids in zip(batch, made[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        stopped = any(token in ends for token in ids)
        text = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
        rows.append(Response(one.id, text, "stop" if stopped else "length"))
    return rows


def _exchanged(dataset: Path) -> dict[str, int]:
    """Id of every twin and of its row -> which picture, 1 or 2, differs between them."""
    twins = read_split(dataset, "test_benign").select_columns(["id", "twin_of", "changed_image"]).to_list()
    return {id_: twin["changed_image"] for twin in twins for id_ in (twin["id"], twin["twin_of"])}


def _probe(images: list[Image], pictures: Pictures, exchanged: int | None) -> tuple[Image, ...]:
    """The pictures as a probe shows them; with ``black`` only the one at place `exchanged` is left."""
    if pictures in ("none", "named"):
        return ()
    if pictures == "black":
        return tuple(one if place == exchanged else one.point(lambda _: 0) for place, one in enumerate(images, 1))
    return tuple(images)


def _named(prompts: list[Prompt], things: Path | None) -> list[Prompt]:
    """Says in words what the pictures would show: how a language model without eyes is asked."""
    if things is None:
        raise MISError("--pictures named wants --things RAW/mini/objects.json")
    names = read_things(things)
    missing = [one.id for one in prompts if one.id not in names]
    if missing:
        raise MISError(f"{things}: lacks {len(missing)} rows (first: {missing[0]}); it belongs to another release")
    phrases = {thing.name: thing.phrase for thing in THINGS}
    lead = "The first image shows {}. The second image shows {}.\n{}"
    return [
        replace(one, question=lead.format(*(phrases[name] for name in names[one.id]), one.question)) for one in prompts
    ]


def _is_wanted(row: dict[str, Any], only: str | None, level: str | None) -> bool:
    of_split = only is None or (row["twin_of"] or row["id"]).startswith(f"test_{only}/")
    return of_split and level in (None, row["level"])


def _as_list(ids: int | list[int]) -> list[int]:
    return ids if isinstance(ids, list) else [ids]
