"""The kinds of Hub repository that are published, and what a folder of each must and may hold.

A folder is refused for whatever its kind has no place for, so that weights of a training, notes, secrets and caches
stay where they are. Nothing is guessed from what a file looks like, but that no file may hold a token.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from cards.pages import CARD
from cards.reading import CardError
from mis_dataset.errors import refuse_constant
from mis_dataset.files import sha256_of
from mis_dataset.schema import DATA_VERSION

MANIFEST = "MANIFEST.json"
SUMS = "SHA256SUMS"
RELEASE = "RELEASE.json"
"""Names the folders of a release: {"owner": OWNER, "folders": {folder: {"kind": KIND, "repo": "OWNER/NAME"}}}."""


class Kind(NamedTuple):
    """One kind of Hub repository.

    Patterns are of whole paths, `*` within one name, `|` between patterns that will do; `{name}` is the folder's name.

    Attributes:
        name: such as "dataset".
        repo_type: the Hub's word: "dataset", "model" or "space".
        required: patterns of which each must match a file.
        allowed: what else may lie there.
        gated: whether readers have to be let in by hand, unless it is published otherwise.
    """

    name: str
    repo_type: str
    required: tuple[str, ...]
    allowed: tuple[str, ...]
    gated: bool = False

    def missing(self, name: str, paths: Iterable[str]) -> list[str]:
        """What a folder of that name needs and these paths lack, in the words of an error."""
        paths = list(paths)
        required = [pattern.format(name=name) for pattern in self.required]
        lacking = [pattern for pattern in required if not any(fits(path, pattern) for path in paths)]
        return [pattern.replace("|", " or ") for pattern in lacking]

    def has_place(self, path: str, name: str) -> bool:
        """Whether a file may lie there in a folder of that name."""
        return any(fits(path, pattern.format(name=name)) for pattern in (*self.required, *self.allowed))


_TEXTS = ("LICENSE", "NOTICE")
_PARQUET = "data/*.parquet|max[1-9]*/*.parquet"
_MADE = "provenance/*.json|provenance/*.jsonl"
_WEIGHTS = "model.safetensors|model-*-of-*.safetensors"
_PROCESSOR = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "dataset",
            "dataset",
            required=(CARD, MANIFEST, _PARQUET, *_TEXTS),
            allowed=("*.png", "croissant.json", "eval.yaml", _MADE),
            gated=True,
        ),
        Kind(
            "model",
            "model",
            required=(
                CARD,
                "config.json",
                "generation_config.json",
                "chat_template.jinja",
                _WEIGHTS,
                SUMS,
                *_TEXTS,
            ),
            allowed=("model.safetensors.index.json", *_PROCESSOR, ".eval_results/*.yaml"),
        ),
        Kind(
            "adapter",
            "model",
            required=(CARD, "adapter_config.json", "adapter_model.safetensors", SUMS, *_TEXTS),
            allowed=(),
        ),
        Kind("metric", "space", required=(CARD, "{name}.py", "app.py", "requirements.txt"), allowed=_TEXTS),
        Kind(
            "demo",
            "space",
            required=(CARD, "app.py", "requirements.txt"),
            allowed=("*.py", "*.md", "*.css", "*.js", "leaderboard.json", "things.json", *_TEXTS),
        ),
    )
}
"""name -> kind, in the order in which they are published: a card links to what was published before it."""

_LOADED = ("*.parquet", "*.safetensors", "*.py", "*.json", "*.jinja")
"""What libraries load from a repository, whoever put it there: an adapter_config.json beside a whole model has
transformers load another base and an adapter on it."""
_CONTENT = (".parquet", ".safetensors", ".png")
"""Ends of files that hold no text."""
_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{30,}")
_BLOCK = 2**20
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_REASONS = (
    (
        ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy", "*.npz"),
        "a pickle, which runs code where it is loaded",
    ),
    (("optimizer*", "scheduler*", "rng_state*", "trainer_state*", "training_args*"), "the state of a training"),
    (("*.safetensors",), "weights of another place"),
    (("mis_dataset.py",), "a loading script, beside which newer versions of datasets refuse to load"),
    (("*.pyc", "__pycache__"), "a cache of Python"),
    ((".*",), "a hidden file"),
)
"""names -> why a file of such a name is refused, in the words of an error; the first that fits."""


def kind_of(folder: Path) -> Kind:
    """Tells the kind of a folder by what lies there; whether all of it is right says `check_folder`.

    Raises:
        CardError: it is no folder, or none of the kinds.
    """
    if not folder.is_dir():
        raise CardError(f"{folder}: no such folder; name one that `python -m cards pack` wrote")
    marks = {
        "dataset": (MANIFEST, "data"),
        "adapter": ("adapter_config.json",),
        "model": ("config.json",),
        "metric": (f"{folder.resolve().name}.py",),
        "demo": ("app.py",),
    }
    for name, names in marks.items():
        if any((folder / mark).exists() for mark in names):
            return KINDS[name]
    wanted = "; ".join(f"{name}: {' or '.join(names)}" for name, names in marks.items())
    raise CardError(f"{folder}: is of no kind that is published; what each is known by: {wanted}")


def check_folder(folder: Path, kind: Kind) -> list[str]:
    """Holds a folder against its kind.

    Args:
        folder: of one Hub repository.
        kind: what it has to be.

    Returns:
        Its files, as sorted POSIX paths.

    Raises:
        CardError: something is missing, has no place there, or is not what the folder itself says of it; all
            problems are named, one a line.
    """
    problems = problems_of(folder, kind)
    if problems:
        raise CardError("\n".join(f"{folder}: {problem}" for problem in problems))
    return files_of(folder)


def problems_of(folder: Path, kind: Kind) -> list[str]:
    """All that `check_folder` refuses a folder for, one line each; empty where it is good.

    Raises:
        CardError: it is no folder.
        OSError: a file cannot be read.
    """
    if not folder.is_dir():
        raise CardError(f"{folder}: no such folder")
    name, paths = folder.resolve().name, files_of(folder)
    problems = [f"{missing} is missing" for missing in kind.missing(name, paths)]
    if CARD not in paths:
        problems.append("a card and what belongs to it are written by `cards pack`, those of MIS by `cards dataset`")
    for path in paths:
        problems += file_problems(folder, path, kind, name)
    if SUMS in paths:
        problems += _sums_problems(folder, paths)
    if kind.name == "dataset" and MANIFEST in paths:
        problems += _manifest_problems(folder, paths)
    if kind.name == "metric" and f"{name}.py" in paths and version_of(folder, kind) is None:
        problems.append(f'{name}.py sets no METRIC_VERSION = "...", so nobody could ask for one version of it; set one')
    if kind.repo_type == "space" and CARD in paths and header_word(folder, "sdk") is None:
        problems.append(f"{CARD} has no sdk in its header, without which the Hub makes no Space; write sdk: gradio")
    return problems


def file_problems(folder: Path, path: str, kind: Kind, name: str) -> list[str]:
    """What one file is refused for, whatever else lies there.

    Args:
        folder: in which it lies.
        path: of the file in it.
        kind: what the folder is, or becomes.
        name: the folder has or gets.

    Raises:
        OSError: it cannot be read.
    """
    problem = _link_problem(folder, path) or _place_problem(path, kind, name)
    return [problem] if problem else list(_content_problems(folder, path))


def files_of(folder: Path) -> list[str]:
    """Every file of a folder and every link in it, as sorted POSIX paths; links are not followed."""
    found = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in files + links]
    return sorted(found)


def fits(path: str, pattern: str) -> bool:
    """Whether a path fits a pattern of a kind.

    >>> fits("data/train-0.parquet", "data/*.parquet"), fits("data/old/train-0.parquet", "data/*.parquet")
    (True, False)
    """
    names = path.split("/")
    ways = (way.split("/") for way in pattern.split("|"))
    return any(len(names) == len(way) and all(map(fnmatchcase, names, way)) for way in ways)


def loaded(path: str) -> bool:
    """Whether libraries would load a file of that name with the rest of its repository."""
    return any(fnmatchcase(path.rsplit("/", 1)[-1], pattern) for pattern in _LOADED)


def version_of(folder: Path, kind: Kind) -> str | None:
    """The version of what a folder holds, as its own files give it.

    That of a dataset stands in its manifest, that of a metric in its module as `METRIC_VERSION`, and that of all others
    in the header of the card as `version`.

    Returns:
        None where nothing says it.
    """
    if kind.name == "dataset":
        return str(json.loads((folder / MANIFEST).read_bytes())["data_version"])
    if kind.name == "metric":
        text = (folder / f"{folder.resolve().name}.py").read_text("utf-8", errors="replace")
        found = re.search(r"""^METRIC_VERSION = ["']([^"']+)["']""", text, re.MULTILINE)
        return found[1] if found else None
    return header_word(folder, "version")


def header_word(folder: Path, field: str) -> str | None:
    """A field of the header of a folder's card that is one word, such as `sdk: gradio`; None where it is not there."""
    header = (folder / CARD).read_text("utf-8", errors="replace").split("\n---", 1)[0]
    found = re.search(rf"""^{field}:[ ]*["']?([A-Za-z0-9._-]+)["']?[ ]*$""", header, re.MULTILINE)
    return found[1] if found and header.startswith("---") else None


def _link_problem(folder: Path, path: str) -> str | None:
    file, root = folder / path, folder.resolve()
    if not file.is_symlink():
        return None
    target = file.resolve()
    if not target.is_relative_to(root):
        return f"{path} is a link that leads outside of the folder; copy what it stands for"
    return None if target.is_file() else f"{path} is a link to no file; copy what it stands for"


def _place_problem(path: str, kind: Kind, name: str) -> str | None:
    if kind.has_place(path, name):
        return None
    parts = path.split("/")
    reasons = (why for patterns, why in _REASONS if any(fnmatchcase(part, p) for part in parts for p in patterns))
    why = next(reasons, "nothing that it has a place for")
    return f"{path} has no place in a folder of kind {kind.name}: {why}; move it away"


def _content_problems(folder: Path, path: str) -> Iterator[str]:
    if path.endswith(".safetensors") and not _is_safetensors(folder / path):
        yield f"{path} is not in the format of safetensors, perhaps a pickle; make it again"
    if path.endswith(_CONTENT):
        return
    if _holds_token(folder / path):
        yield f"{path} holds what looks like a token of the Hub (hf_...); remove it, and revoke the token"
    if path.endswith(".json"):
        content = _read(folder / path)
        if content is None:
            yield f"{path} is no JSON object; write it again"
        elif "auto_map" in content:
            yield f"{path} names code that would be loaded with it (auto_map); only what transformers has is published"


def _is_safetensors(file: Path) -> bool:
    """Whether its head is that of the format: a pickle may have any name."""
    with file.open("rb") as stream:
        length, first = int.from_bytes(stream.read(8), "little"), stream.read(1)
    return first == b"{" and length <= file.stat().st_size - 8


def _holds_token(file: Path) -> bool:
    tail = b""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            if _TOKEN.search(tail + block):
                return True
            tail = (tail + block)[-64:]
    return False


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_bytes(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _sums_problems(folder: Path, paths: Sequence[str]) -> Iterator[str]:
    sums: dict[str, str] = {}
    for line in (folder / SUMS).read_text("utf-8", errors="replace").splitlines():
        found = _SUM.fullmatch(line)
        if not found:
            yield f"{SUMS} has a line that is not a sha256, two spaces and a path; write it again"
        else:
            sums[found[2]] = found[1]
    others = [path for path in paths if path != SUMS]
    yield from (f"{path} stands in {SUMS} and is missing" for path in sorted(set(sums) - set(others)))
    for path in others:
        if path not in sums:
            yield f"{path} does not stand in {SUMS}; write that again"
        elif (folder / path).is_file() and sha256_of(folder / path) != sums[path]:
            yield f"{path} has another sha256 than {SUMS} says; one of them was changed"


def _manifest_problems(folder: Path, paths: Sequence[str]) -> Iterator[str]:
    told = _read(folder / MANIFEST) or {}
    files, again = told.get("files"), "build the dataset again"
    if not isinstance(files, dict) or not isinstance(told.get("rows"), dict):
        yield f"{MANIFEST} was not written by `python -m mis_dataset build`; {again}"
        return
    if told.get("limit") is not None:
        yield f"{MANIFEST} is of a trial, `build --limit`; only a whole dataset is published"
    if told.get("data_version") != DATA_VERSION:
        yield f"{MANIFEST} is of version {told.get('data_version')!r}, this is {DATA_VERSION}; {again}"
    found = {path for path in paths if fits(path, f"{_PARQUET}|{_MADE}")}
    for path in sorted(found | {path for path in files if str(path).endswith(".parquet") or fits(path, _MADE)}):
        if path not in found:
            yield f"{path} stands in {MANIFEST} and is missing; {again}"
        elif path not in files:
            yield f"{path} does not stand in {MANIFEST}; {again}"
        elif (folder / path).is_file() and sha256_of(folder / path) != files[path]:
            yield f"{path} has another sha256 than {MANIFEST} says; {again}"
