"""MIS-mini shares no picture and, outside of trained pairs, no pair of things between train and tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.__main__ import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", ["0", "1"])
def test_nothing_that_is_forbidden_is_shared_and_a_leak_put_in_is_found(tmp_path: Path, seed: str) -> None:
    raw, built, found = tmp_path / "raw", tmp_path / "MIS", tmp_path / "leaks.json"
    assert main(["mini", str(raw), "--seed", seed]) == 0
    assert main(["build", str(raw), str(built)]) == 0
    things = raw / "mini" / "objects.json"
    words = ["leaks", str(built), str(found), "--things", str(things)]
    assert main(words) == 0
    train = [one for one in json.loads(found.read_text())["compared"] if one["one"] == "train"]
    assert [one["two"] for one in train] == ["test_easy", "test_hard", "test_real", "test_benign"]
    for kind in ("same_image", "twin_image", "same_pair", "same_things"):
        assert [one["rows"][kind] for one in train] == [0, 0, 0, 0]
    names = json.loads(things.read_text("utf-8"))
    named = next(record for record in json.loads((raw / "mis_hard.json").read_text()) if record["level"] == "new_pairs")
    names[f"test_hard/{named['id']}"] = names["train/1"]
    (tmp_path / "things.json").write_text(json.dumps(names))
    assert main([*words[:3], "--things", str(tmp_path / "things.json")]) == 1
