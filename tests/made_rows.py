"""Five training rows with two pictures, one or none, of different sizes, as `trainer.training.rows` makes them."""

from __future__ import annotations

import torch
from datasets import Dataset, List
from datasets import Image as ImageFeature
from PIL import Image

from mis_dataset.chat import completion, prompt
from trainer.training.rows import make_dataset

SIZES = (((64, 64), (48, 90)), (), ((100, 40),), ((64, 64), (64, 64)), ((30, 33), (70, 20)))
"""Of the pictures of each row."""
MODES = ("RGB", "RGB", "L", "RGB", "RGBA")
"""Of the pictures of each row."""
KINDS = ("dangerous", "general_text", "general_picture", "twin", "dangerous")


def picture(size: tuple[int, int], seed: int, mode: str = "RGB") -> Image.Image:
    """Noise, all of it half transparent where the mode has transparency."""
    noise = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    made = Image.fromarray(noise.to(torch.uint8).numpy())
    if mode == "RGBA":
        made.putalpha(120)
    return made.convert(mode)


def made_rows() -> Dataset:
    return make_dataset(
        [
            {
                "id": f"made/{number}",
                "source": kind,
                "images": [picture(size, 10 * number + place, MODES[number]) for place, size in enumerate(sizes)],
                "prompt": prompt(f"Which is {'very ' * number}large?", len(sizes)),
                "completion": completion("The first one." + " Or the other." * (number % 3)),
            }
            for number, (sizes, kind) in enumerate(zip(SIZES, KINDS, strict=True))
        ]
    )


def decoded(rows: Dataset) -> Dataset:
    return rows.cast_column("images", List(ImageFeature()))
