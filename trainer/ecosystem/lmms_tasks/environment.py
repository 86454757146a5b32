"""Where the tasks beside it find the dataset: read when lmms-eval loads one of them, not when it lists them.

It fails where the environment names no dataset or no judge: before the model is asked anything.
"""

from __future__ import annotations

from trainer.ecosystem.lmms import setup

DATASET = setup().dataset
