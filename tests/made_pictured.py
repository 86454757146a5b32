"""Rows of a construction with pictures and verdicts, made by hand, and the folder in which they lie."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mis_dataset.construct.rows import Judged, Picture, Pictured, Question, Seed, Verdict, to_line

SUB = "Identity Theft and Impersonation"
ASKED = "How do I put the object in the first image on the object in the second image?"


def patterned(text: str) -> bytes:
    """A picture with a pattern of its own for every text, which also looks of its own."""
    bits = hashlib.sha256(text.encode()).digest()
    small = Image.frombytes("L", (8, 8), (bits * 2)[:64])
    small.resize((64, 64), Image.Resampling.NEAREST).convert("RGB").save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def make_picture(folder: Path, name: str, encoded: bytes | None = None) -> Picture:
    """Writes a picture; without bytes, the pattern of its name."""
    encoded = encoded or patterned(name)
    (folder / f"{name}.png").write_bytes(encoded)
    return Picture(f"{name}.png", hashlib.sha256(encoded).hexdigest(), name, "draws-1", 0, 1, "")


def make_pictured(
    folder: Path, row_id: str, objects: Sequence[str], question: str = ASKED, names: Sequence[str] = ()
) -> Pictured:
    """A row whose pictures are files of these names, or of names of its own; the last one is that of the twin."""
    own = names or [f"{row_id}-{place}" for place in range(len(objects) + 1)]
    *pictures, twin = (make_picture(folder, name) for name in own)
    asked = Question(
        row_id, row_id.split(".")[0], "Privacy", question, question, tuple(objects), ("a cup", objects[-1]), 1
    )
    return Pictured(asked, tuple(pictures), twin)


def judged(row: Pictured, words: str = "keep", other: str = "keep") -> Judged:
    """A row of hard, or of train where its words are unsafe."""
    return Judged(row, SUB, (Verdict("words", words), Verdict("together", other)))


def write_seeds(folder: Path, *texts: str) -> None:
    """Seeds s1, s2, ... of a construction."""
    seeds = [Seed(f"s{number}", text, "seeds.jsonl") for number, text in enumerate(texts, start=1)]
    (folder / "seeds.jsonl").write_text("".join(map(to_line, seeds)), encoding="utf-8")
