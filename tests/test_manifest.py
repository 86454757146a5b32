"""What a build wrote and whether it is still so."""

from __future__ import annotations

from pathlib import Path

import pytest

from mis_dataset.errors import ManifestError
from mis_dataset.manifest import NAME, read_manifest, sha256_of, verify, write_manifest
from mis_dataset.schema import DATA_VERSION

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def folder(root: Path) -> Path:
    (root / "data").mkdir()
    (root / "data" / "a.parquet").write_bytes(b"hello")
    (root / "data" / "b.parquet").write_bytes(b"more")
    write_manifest(root, {"mis_train.json": "0" * 64}, {"train": 2})
    return root


def test_a_manifest_holds_hashes_counts_and_versions(tmp_path: Path) -> None:
    manifest = read_manifest(folder(tmp_path))
    assert list(manifest.files) == ["data/a.parquet", "data/b.parquet"]
    assert manifest.files["data/a.parquet"] == HELLO == sha256_of(tmp_path / "data" / "a.parquet")
    assert (manifest.rows, manifest.data_version) == ({"train": 2}, DATA_VERSION)
    assert set(manifest.versions) == {"datasets", "pyarrow", "pillow", "mis_dataset", "python"}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [NAME]


def test_what_was_written_verifies(tmp_path: Path) -> None:
    assert verify(folder(tmp_path)) == []


def test_changed_missing_and_added_files_are_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "data" / "a.parquet").write_bytes(b"hellO")
    (tmp_path / "data" / "b.parquet").unlink()
    (tmp_path / "README.md").write_text("mine")
    assert verify(tmp_path) == [
        "README.md: was added",
        "data/a.parquet: was changed",
        "data/b.parquet: is missing",
    ]


@pytest.mark.parametrize(
    "held",
    ["", "[]", "{}", '{"kind": "other"}', '{"kind": ' * 50_000, '{"kind": "mis_dataset build"}'],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, held: str) -> None:
    (tmp_path / NAME).write_text(held)
    with pytest.raises(ManifestError, match="remove the folder and build again"):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"MANIFEST\.json: cannot be read: No such file"):
        verify(tmp_path)
