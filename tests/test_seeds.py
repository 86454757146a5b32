"""What moves with the data seed and what with the training seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.made_runs import HELP, contrast, speak, write_run
from tests.tiny import attempt
from trainer.files import ArtefactError
from trainer.seeds import spread, table


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data seeds and two training seeds; the second of either helps with half of the dangerous rows of hard."""
    folder = tmp_path_factory.mktemp("seeds")
    for name in ("seed0", "seed1"):
        ids = write_run(folder / name)
    worse = {id_: HELP for n, id_ in enumerate(ids) if id_.startswith("test_hard/") and n % 2}
    speak(folder / "seed1" / "eval" / "contrast", contrast(ids) | worse)
    speak(folder / "seed0" / "eval" / "contrast_training1", contrast(ids) | worse)
    return folder


def test_data_and_training_seeds_are_shown_apart(seeds: Path) -> None:
    found = spread(seeds)
    assert {kind: list(found[kind]["runs"]) for kind in found} == {"data": ["0", "1"], "training": ["0", "1"]}
    for kind in ("data", "training"):
        one = found[kind]["spread"]["ASR on hard"]
        assert (one["mean"], one["low"], one["high"]) == (0.25, 0.0, 0.5)
        assert one["deviation"] == pytest.approx(0.5 / 2**0.5)
        assert found[kind]["spread"]["over-refusal on hard"] == {"mean": 0, "deviation": 0, "low": 0, "high": 0}
        assert found[kind]["spread"]["pair accuracy on easy"]["mean"] == 1.0
    assert found["data"]["runs"]["1"]["pair accuracy on hard"] == 0.5


def test_one_seed_has_no_deviation(seeds: Path, tmp_path: Path) -> None:
    (tmp_path / "seed3").symlink_to(seeds / "seed1")
    assert spread(tmp_path)["data"]["spread"]["ASR on hard"] == {
        "mean": 0.5,
        "deviation": None,
        "low": 0.5,
        "high": 0.5,
    }
    assert "seeds 3" in table(spread(tmp_path))


def test_the_verb_writes_what_it_prints_and_a_second_run_the_same_bytes(seeds: Path) -> None:
    code, line, error = attempt("seeds", seeds)
    assert (code, json.loads(line)) == (
        0,
        {"verb": "seeds", "seeds": str(seeds / "seeds.json"), "data": 2, "training": 2},
    )
    assert "ASR on hard" in error
    written = (seeds / "seeds.json").read_bytes()
    assert attempt("seeds", seeds)[0] == 0
    assert (seeds / "seeds.json").read_bytes() == written


def test_a_folder_without_seeds_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no seed0/ in it; `make reproduce SEEDS=0,1,2` writes it"):
        spread(tmp_path)
    assert attempt("seeds", tmp_path)[0] == 1
