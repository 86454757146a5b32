"""Compares a built dataset with its manifest: files first, and in a file that differs its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from mis_dataset.built import rows_of
from mis_dataset.errors import DatasetError
from mis_dataset.files import sha256_of
from mis_dataset.manifest import CARD, Manifest, files_in, picture_hashes, read_manifest, row_hash

_NAMED = 20
"""Rows of a split that are named at most, of one fault each."""


def verify(folder: Path) -> list[str]:
    """Finds what is no longer as it was built.

    Args:
        folder: of the built dataset.

    Returns:
        One text for each file that was changed, is missing or was added, and for each row of such a split that was
        changed, is missing, was added, occurs twice or moved; empty where all is as written.

    Raises:
        ManifestError: the folder has no manifest of ours.
    """
    manifest = read_manifest(folder)
    found = files_in(folder)
    texts = []
    suspect = set()
    for name in sorted({*manifest.files, *found}):
        fault = _file_fault(folder, name, manifest.files.get(name), name in found)
        if fault:
            texts.append(f"{name}: {fault}")
            suspect |= {split for split in manifest.row_hashes if Path(name).name.startswith(f"{split}-")}
    texts += _card_faults(folder, manifest)
    for split in (split for split in manifest.row_hashes if split in suspect):
        texts += _row_faults(folder, split, manifest.row_hashes[split], found)
    return texts


def _card_faults(folder: Path, manifest: Manifest) -> list[str]:
    """Without a card that says where the files of a config lie, `load_dataset` does not find them."""
    if not manifest.config.startswith("max"):  # of smaller pictures; all others lie in data/
        return []
    try:
        held = yaml.safe_load((folder / CARD).read_text("utf-8").split("---")[1])["configs"]
        found = {one["split"]: one["path"] for one in held[0]["data_files"]}
        named = (held[0]["config_name"], len(held)) == (manifest.config, 1)
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        named, found = False, {}
    right = {split: str(path).startswith(f"{manifest.config}/{split}-") for split, path in found.items()}
    if named and set(right) == set(manifest.rows) and all(right.values()):
        return []
    return [f"{CARD}: does not name the files of {manifest.config}, by which `load_dataset` finds them; build it anew"]


def _file_fault(folder: Path, name: str, expected: str | None, found: bool) -> str | None:
    if not found:
        return "is missing"
    if expected is None:
        return "was added"
    if not (folder / name).is_file() and not (folder / name).is_symlink():
        return "is no file"  # a pipe, which would never end
    try:
        if (folder / name).exists() and not (folder / name).is_file():
            return "is a link to what is no file"
        return None if sha256_of(folder / name) == expected else "was changed"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _row_faults(folder: Path, split: str, expected: dict[str, str], found: list[str]) -> list[str]:
    """What is wrong with the rows of a split, by id, where its files can be read."""
    names = [name for name in found if Path(name).match(f"{split}-*.parquet")]
    try:
        rows = [row for name in names for row in _hashes(folder / name)]
    except (DatasetError, TypeError, KeyError):  # not Parquet, or not of our columns' types
        return [f"{split}: its rows cannot be told"]
    held = dict(rows)
    texts = _told(split, "is missing", [row_id for row_id in expected if row_id not in held])
    texts += _told(split, "was added", [row_id for row_id in held if row_id not in expected])
    changed = [row_id for row_id in expected if row_id in held and held[row_id] != expected[row_id]]
    texts += _told(split, "was changed", changed)
    seen: set[str] = set()
    for row_id, _ in rows:
        texts += [f"{row_id}: the row occurs twice"] if row_id in seen else []
        seen.add(row_id)
    order = [row_id for row_id in held if row_id in expected]
    if order != [row_id for row_id in expected if row_id in held]:
        moved = next(
            one for one, two in zip(order, (row for row in expected if row in held), strict=True) if one != two
        )
        texts.append(f"{moved}: the rows of {split} are in another order from here on")
    return texts


def _told(split: str, what: str, ids: list[str]) -> list[str]:
    """A line a row; a whole file that is missing would have thousands."""
    texts = [f"{row_id}: the row {what}" for row_id in ids[:_NAMED]]
    return texts + ([f"{split}: of {len(ids) - _NAMED} more the row {what}"] if len(ids) > _NAMED else [])


def _hashes(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and hashes of the rows of one file."""
    for row in rows_of([path]):
        yield str(row["id"]), row_hash(row, picture_hashes(row))
