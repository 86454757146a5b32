"""What training costs beside the sums themselves, and how fast it is beside what a user would run instead.

    .venv/bin/python -m benchmarks.training [--rows 64]

Three comparisons, each side in turn and in one run, on SmolLM2 with an untrained tower and rows of MIS-mini by
``mini_contrast.yaml``:

1. `sft`'s step, with all that reads rows and makes batches, to forward, backward and optimizer on batches made before.
   The same loss, clipping and optimizer; the first step of each is not counted. The least of some rounds.
2. rows a second to TRL's plain `SFTTrainer` with its default collator: the same checkpoint, LoRA, rate, rows and rows a
   step, three seeds, and the loss of each on rows held out, computed in one way. TRL's default of gradient
   checkpointing, which costs a forward pass a step, is off on both sides; what it costs is told beside. Then the same
   on rows of one length, where no padding can be saved.
3. rows a second from a built dataset to batches of pixels, two 1024 px PNGs a row, two workers, to two processes that
   hold the encoded pictures in memory, decode them and resize them to the same size by Pillow, and do nothing else.
   Told beside: the same for pictures of four tiles of 448 px and their small whole, as InternVL2.5 has them, and from
   the cache of processed pixels.

Prints one line of JSON; what it must be stands in ``benchmarks/training_bars.toml``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import yaml
from datasets import Dataset, List, disable_progress_bars
from datasets import Image as ImageFeature
from peft import LoraConfig
from PIL import Image
from transformers import GotOcr2ImageProcessor, TrainerCallback
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from benchmarks.dataset_room import picture, told, varied
from mis_dataset.build import build
from mis_dataset.mini.draw import SIZE
from mis_dataset.mini.write import write_release
from tests.made_release import make_release
from trainer import families, mini_vlm, models
from trainer.recipe import CONFIGS, LORA_LAYERS, RecipeArguments, read_recipe
from trainer.training.collating import RowCollator
from trainer.training.learning import make_trainer, train_in
from trainer.training.lengths import row_lengths
from trainer.training.rows import training_rows

BARS = Path(__file__).with_name("training_bars.toml")
RECIPE = CONFIGS / "mini_contrast.yaml"
_DRAWN = 8
"""Different pictures of 1024 px; each takes 0.7 s to make."""
_TILE = 448
_held: list[bytes] = []
"""The pictures of `bare`, which its processes inherit."""


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        rows: of every training.
        held_out: rows that losses are compared on.
        seeds: trainings of each side.
        rounds: how often a step is measured, and the reading of large rows.
        large: rows of two pictures of 1024 px.
        side: of those pictures.
        smoke: a tiny language model, and MIS-mini of a few rows.
    """

    rows: int = 64
    held_out: int = 32
    seeds: int = 3
    rounds: int = 6
    large: int = 128
    side: int = 1024
    smoke: bool = False


class Made(NamedTuple):
    """What is trained.

    Attributes:
        folder: to work in.
        base: the checkpoint; beside it lies ``tiled``, which makes of a picture what InternVL2.5 does, and is not run.
        rows: of MIS-mini and its lessons, of unequal length.
        held_out: others of the same kinds.
    """

    folder: Path
    base: Path
    rows: Dataset
    held_out: Dataset

    def settings(self, seed: int = 0, **changes: Any) -> tuple[RecipeArguments, Any]:
        """The recipe, all weights that learn at one rate as plain TRL has it."""
        changes = {"doses": [], "save_strategy": "no", "warmup_steps": 2, "projector_learning_rate": None} | changes
        over = self.folder / "changes.yaml"
        over.write_text(yaml.safe_dump(changes), "utf-8")
        recipe, config = read_recipe(RECIPE, self.folder, seed, [over])
        config.disable_tqdm = True
        return recipe, config

    def ours(self, rows: Dataset, seed: int = 0, **changes: Any) -> Any:
        """Our trainer."""
        recipe, config = self.settings(seed, **changes)
        return make_trainer(self.base, rows, config, recipe)

    def theirs(self, rows: Dataset, seed: int = 0, **changes: Any) -> SFTTrainer:
        """TRL's; pictures as it wants them."""
        recipe, config = self.settings(seed, **changes)
        model, processor = models.load(self.base, cpu=True, float32=not config.bf16)
        lora = LoraConfig(
            r=recipe.lora_r,
            lora_alpha=2 * recipe.lora_r,
            target_modules=families.lora_targets(families.family_of(self.base), LORA_LAYERS[recipe.lora_layers]),
            modules_to_save=families.modules_to_save(model),
        )
        shown = rows.cast_column("images", List(ImageFeature()))
        trainer = SFTTrainer(model, args=config, train_dataset=shown, processing_class=processor, peft_config=lora)
        train_in(trainer.model, torch.float32)
        return trainer


def make(folder: Path, sizes: Sizes) -> Made:
    """The base, untrained, and rows of MIS-mini."""
    language = mini_vlm.RANDOM if sizes.smoke else mini_vlm.SMOLLM2
    model, processor = mini_vlm.assemble(*mini_vlm.read_language_model(language, 0), 0)
    for name in ("base", "tiled"):
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        size = {"height": _TILE, "width": _TILE}
        processor.image_processor = GotOcr2ImageProcessor(size=size, max_patches=4, crop_to_patches=True)
    write_release(folder / "raw", 0, zipped=False, smoke=sizes.smoke)
    build(folder / "raw", folder / "MIS")
    made = Made(folder, folder / "base", Dataset.from_dict({}), Dataset.from_dict({}))
    rows = training_rows(folder / "MIS", made.settings()[0], 0).shuffle(0)
    held_out = rows.select(range(sizes.rows, sizes.rows + sizes.held_out))
    return made._replace(rows=rows.select(range(sizes.rows)), held_out=held_out)


class _Clock(TrainerCallback):
    """When training began, and when each step ended."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts."""
        self.ends = [time.perf_counter()]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keeps the time."""
        self.ends.append(time.perf_counter())


def train(trainer: SFTTrainer) -> _Clock:
    """Trains; the losses that the Trainer prints go to stderr."""
    clock = _Clock()
    trainer.add_callback(clock)
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
    return clock


# 1. The step


def step(made: Made) -> float:
    """Seconds of a step of `sft`, but for the first."""
    ends = train(made.ours(made.rows)).ends
    return (ends[-1] - ends[1]) / (len(ends) - 2)


def bare_step(made: Made) -> float:
    """Seconds of forward, backward and optimizer, but for the first."""
    trainer = made.ours(made.rows)
    batches = list(trainer.get_train_dataloader())
    optimizer, model, most = trainer.create_optimizer(), trainer.model.train(), trainer.args.max_grad_norm
    ends = []
    for batch in batches:
        loss = trainer.compute_loss(model, batch, num_items_in_batch=(batch["labels"][:, 1:] != -100).sum())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), most)
        optimizer.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return (ends[-1] - ends[0]) / (len(ends) - 1)


# 2. TRL


class Trained(NamedTuple):
    """Seconds of a training, and the loss on rows held out, a labelled token."""

    seconds: float
    loss: float


def both(made: Made, rows: Dataset, seed: int = 0) -> tuple[Trained, Trained]:
    """Ours, then theirs."""
    trained = []
    for make_one in (made.ours, made.theirs):  # made when its turn comes: it seeds what decides the order of rows
        trainer = make_one(rows, seed)
        ends = train(trainer).ends
        trained.append(Trained(ends[-1] - ends[0], held_out_loss(trainer.model, made)))
    return trained[0], trained[1]


@torch.no_grad()
def held_out_loss(model: Any, made: Made) -> float:
    """Mean over labelled tokens, by transformers' own loss."""
    processor = models.load_processor(made.base)
    collate = RowCollator(DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True))
    total = tokens = 0.0
    for start in range(0, len(made.held_out), 8):
        batch = collate(made.held_out.select(range(start, min(start + 8, len(made.held_out)))).to_list())
        count = int((batch["labels"][:, 1:] != -100).sum())
        shown = {name: value for name, value in batch.items() if name not in ("ids", "sources")}
        total += model.eval()(**shown).loss.item() * count
        tokens += count
    return total / tokens


def of_one_length(made: Made) -> Dataset:
    """As many rows, all of the length that most have."""
    lengths = row_lengths(made.rows, models.load_processor(made.base))
    [(length, _)] = Counter(lengths).most_common(1)
    places = [place for place, one in enumerate(lengths) if one == length]
    return made.rows.select([places[number % len(places)] for number in range(len(lengths))])


def checkpointed(made: Made, rows: Dataset) -> float:
    """Seconds of TRL with gradient checkpointing, its default."""
    ends = train(made.theirs(rows, gradient_checkpointing=True)).ends
    return ends[-1] - ends[0]


# 3. Pixels


def make_large(folder: Path, sizes: Sizes) -> Path:
    """A built dataset with two large pictures a row, none twice."""
    raw = make_release(folder / "raw", twins=False, rows=sizes.large)
    drawn = [picture(number, sizes.side) for number in range(_DRAWN)]
    for number, path in enumerate(sorted((raw / "images").rglob("*.png"))):
        path.write_bytes(varied(drawn[number % _DRAWN], str(number)))
    build(raw, folder / "MIS")
    return folder / "MIS"


def pixels(made: Made, rows: Dataset, cache: Path | None = None) -> float:
    """Seconds from rows to batches of pixels by two workers, their start included."""
    trainer = made.ours(rows, dataloader_num_workers=2, pixel_cache=str(cache) if cache else "")
    started = time.perf_counter()
    seen = sum(len(batch["ids"]) for batch in trainer.get_train_dataloader())
    assert seen == len(rows)
    return time.perf_counter() - started


def bare(rows: Dataset, resize: Callable[[Image.Image], object]) -> float:
    """Seconds of two processes that decode and resize, their start included."""
    _held[:] = [one["bytes"] for row in rows.to_list() for one in row["images"]]
    started = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.starmap(_decode, [(place, resize) for place in range(len(_held))], chunksize=4)
    return time.perf_counter() - started


def _decode(place: int, resize: Callable[[Image.Image], object]) -> None:
    with Image.open(io.BytesIO(_held[place])) as opened:
        resize(opened.convert("RGB"))


def to_tile(image: Image.Image) -> None:
    """To the one tile of MIS-mini's models."""
    image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def to_tiles(image: Image.Image) -> None:
    """To four tiles and the small whole."""
    image.resize((2 * _TILE, 2 * _TILE), Image.Resampling.BICUBIC)
    image.resize((_TILE, _TILE), Image.Resampling.BICUBIC)


# All of it


def measure(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Runs everything.

    Args:
        folder: empty, with room for 40 MB a large row.
        sizes: how much.

    Returns:
        Ratios, counts, seconds and losses.
    """
    made = make(folder, sizes)
    lengths = row_lengths(made.rows, models.load_processor(made.base))
    steps = [(step(made), bare_step(made)) for _ in range(sizes.rounds)]
    runs = [both(made, made.rows, seed) for seed in range(sizes.seeds)]
    even = of_one_length(made)
    even_ours, even_theirs = both(made, even)
    least = [min(step) for step in zip(*steps, strict=True)]
    ratios = [theirs.seconds / ours.seconds for ours, theirs in runs]
    ours, theirs = (sum(run[side].seconds for run in runs) for side in (0, 1))
    shown = measure_pixels(made, sizes)
    return {
        "rows": sizes.rows,
        "threads": torch.get_num_threads(),
        "tokens a row": {"least": min(lengths), "mean": sum(lengths) / len(lengths), "most": max(lengths)},
        "ratios": {
            "step to forward, backward and optimizer, time": least[0] / least[1],
            "ours to TRL on rows of unequal length, throughput": theirs / ours,
            "ours to TRL on rows of unequal length, the worst seed": min(ratios),
            "ours to TRL on rows of one length, throughput": even_theirs.seconds / even_ours.seconds,
            "Parquet to pixels to decoding and resizing, throughput": shown["bare"] / shown["mini"],
        },
        "counts": {
            "held-out loss off TRL's, the worst seed, share": max(abs(our.loss / their.loss - 1) for our, their in runs)
        },
        "also": {
            "TRL with gradient checkpointing to ours, time": checkpointed(made, made.rows) / runs[0][0].seconds,
            "four tiles to decoding and resizing, throughput": shown["bare tiles"] / shown["tiles"],
            "four tiles from the cache to decoding and resizing, throughput": shown["bare tiles"] / shown["cached"],
        },
        "seconds": {
            "a step": least[0],
            "forward, backward and optimizer": least[1],
            "ours, of each seed": [our.seconds for our, _ in runs],
            "TRL, of each seed": [their.seconds for _, their in runs],
            "one length, ours": even_ours.seconds,
            "one length, TRL": even_theirs.seconds,
            "of large rows": shown,
        },
        "losses": [{"ours": our.loss, "TRL": their.loss} for our, their in runs],
    }


def measure_pixels(made: Made, sizes: Sizes) -> dict[str, float]:
    """Seconds, the least of some rounds; ``opening`` is the check of the dataset and its way from Parquet to Arrow."""
    dataset = make_large(made.folder / "large", sizes)
    started = time.perf_counter()
    rows = training_rows(dataset, RecipeArguments(general_share=0), 0)
    seconds = {"opening": time.perf_counter() - started, "rows": float(len(rows))}
    tiled, cache = made._replace(base=made.folder / "tiled"), made.folder / "pixels"
    asked: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(rows, to_tile),
        "mini": lambda: pixels(made, rows),
        "bare tiles": lambda: bare(rows, to_tiles),
        "tiles": lambda: pixels(tiled, rows),
        "cached": lambda: pixels(tiled, rows, cache),
    }
    for number in range(max(2, sizes.rounds)):  # the first fills the cache
        for name, ask in asked.items():
            if number < 2 or name in ("bare", "mini"):  # what is limited
                seconds[name] = min(ask(), seconds.get(name, float("inf")))
    return seconds


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--rows", type=int, default=Sizes().rows, help="of a training, and twice as many large ones")
    rows = parser.parse_args().rows
    disable_progress_bars()
    with TemporaryDirectory() as folder:
        measured = measure(Path(folder), Sizes(rows=rows, large=2 * rows))
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
