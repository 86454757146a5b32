"""What a manifest holds, and which are not ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mis_dataset.errors import ManifestError
from mis_dataset.manifest import NAME, Manifest, picture_hashes, read_manifest, row_hash, versions, write_manifest

ROW = {"id": "test_hard/0", "question": "Où?", "images": [{"bytes": b"hello", "path": "object1.png"}]}
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_a_manifest_reads_back_and_is_the_only_file_written(tmp_path: Path) -> None:
    held = {"train": {"train/1": "0" * 64}}
    made = Manifest("mis_dataset build", "1-b", "default", {}, {}, None, {}, {"train": 1}, {}, versions(), held)
    write_manifest(tmp_path, made)
    assert read_manifest(tmp_path) == made
    assert set(made.versions) == {"datasets", "pyarrow", "pillow", "mis_dataset", "python"}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_row_is_hashed_as_its_canonical_json_with_the_hashes_of_its_pictures() -> None:
    assert picture_hashes(ROW) == [HELLO]
    pictures = f'[{{"path":"object1.png","sha256":"{HELLO}"}}]'
    canonical = f'{{"id":"test_hard/0","images":{pictures},"question":"Où?"}}'
    assert row_hash(ROW, [HELLO]) == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize(
    "held",
    ["", "[]", "{}", '{"kind": "other"}', '{"kind": ' * 50_000, '{"kind": "mis_dataset build"}'],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, held: str) -> None:
    (tmp_path / NAME).write_text(held)
    with pytest.raises(ManifestError, match="remove the folder and build again"):
        read_manifest(tmp_path)
