"""Which checkpoint a training goes on from: whole ones alone, of one process or several, in shards or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainer.training.checkpoints import last_checkpoint, remove_broken

PLAIN = ("scheduler.pt", "optimizer.pt", "model.safetensors")
ADAPTER = ("scheduler.pt", "optimizer.pt", "adapter_model.safetensors")
FILES = ("scheduler.pt", "optimizer.pt", "model.safetensors.index.json")
FSDP = ("scheduler.pt", "optimizer_0/.metadata", "pytorch_model_fsdp_0/.metadata")
ZERO = ("scheduler.pt", "latest")


def write_checkpoint(folder: Path, step: int, processes: int = 1, names: tuple[str, ...] = PLAIN) -> Path:
    """A checkpoint of the right files, with nothing in them."""
    checkpoint = folder / f"checkpoint-{step}"
    for name in names:
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).touch()
        if name.endswith(".pt"):
            torch.save({}, checkpoint / name)
        if name.endswith(".safetensors"):
            save_file({}, checkpoint / name)
    for rank in range(processes):
        torch.save({}, checkpoint / (f"rng_state_{rank}.pth" if processes > 1 else "rng_state.pth"))
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return checkpoint


def test_without_checkpoints_a_training_begins_anew(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("state", ['{"global_st', "", "[]", "{}", '{"global_step": "12"}', "[" * 9999])
def test_a_checkpoint_whose_state_was_cut_short_is_passed_over(tmp_path: Path, state: str) -> None:
    write_checkpoint(tmp_path, 2)
    write_checkpoint(tmp_path, 10)
    (write_checkpoint(tmp_path, 12) / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("names", [PLAIN, ADAPTER, FILES, FSDP, ZERO])
def test_a_checkpoint_without_one_of_its_files_is_passed_over(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_checkpoint(tmp_path, 2, 2, names)
    later = write_checkpoint(tmp_path, 4, 2, names)
    assert last_checkpoint(tmp_path, 2) == str(later)
    for name in (*names, "rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"):
        kept = (later / name).read_bytes()
        (later / name).unlink()
        assert last_checkpoint(tmp_path, 2) == str(tmp_path / "checkpoint-2"), name
        (later / name).write_bytes(kept)
    assert last_checkpoint(tmp_path, 2) == str(later)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("content", [b"", b"cut", None])
def test_a_checkpoint_with_a_file_that_is_broken_is_passed_over(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = write_checkpoint(tmp_path, 4) / name
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    file.write_bytes(file.read_bytes()[:-1] if content is None else content)
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("step", [-1, 0, 5, 99, True])
def test_a_checkpoint_that_says_another_step_than_its_name_is_passed_over(tmp_path: Path, step: int) -> None:
    (write_checkpoint(tmp_path, 4) / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert last_checkpoint(tmp_path) is None


def test_a_link_to_a_checkpoint_elsewhere_is_none_and_goes_without_what_it_points_at(tmp_path: Path) -> None:
    elsewhere = write_checkpoint(tmp_path / "elsewhere", 4)
    (tmp_path / "checkpoint-4").symlink_to(elsewhere)
    (tmp_path / "checkpoint-5").write_text("a file")
    assert last_checkpoint(tmp_path) is None
    remove_broken(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert last_checkpoint(elsewhere.parent) == str(elsewhere)


def test_random_numbers_of_another_process_that_were_cut_short_are_seen(tmp_path: Path) -> None:
    states = write_checkpoint(tmp_path, 4, 2) / "rng_state_1.pth"
    states.write_bytes(states.read_bytes()[:-9])
    assert last_checkpoint(tmp_path, 2) is None


def test_a_checkpoint_of_fewer_processes_is_none_of_more(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 4, 2)
    assert last_checkpoint(tmp_path, 3) is None
    assert last_checkpoint(tmp_path, 1) is None


def test_what_is_not_whole_is_removed_and_what_is_whole_stays(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, 4)
    (write_checkpoint(tmp_path, 6) / "optimizer.pt").unlink()
    (tmp_path / "checkpoint-8").mkdir()
    remove_broken(tmp_path)
    assert list(tmp_path.iterdir()) == [whole]
    remove_broken(tmp_path / "none")
