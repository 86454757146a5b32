"""What a job does with a recipe: how GPUs share it, what is installed for it, and what it cannot do."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mis_dataset.errors import UsageError
from tests.made_checkout import Checkout, make_checkout
from trainer import job

RECIPE = "# a recipe\nactivation_checkpointing: true\nmax_length: null\ngeneral_share: 0.0\n"
FILES = {f"trainer/configs/{method}.yaml": f"{RECIPE}method: {method}\n" for method in ("full", "lora", "qlora")} | {
    "trainer/configs/gated.yaml": f"{RECIPE}gate_every: 5\n",
    "trainer/configs/accelerate/ddp.yaml": "# shared\n",
    "trainer/configs/accelerate/fsdp2.yaml": "# shared\n",
    "trainer/configs/accelerate/zero3.yaml": "# shared\n",
    "Makefile": "setup:\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return make_checkout(tmp_path_factory.mktemp("made"), FILES)


def script(made: Checkout, recipe: str, *words: str, flavor: str = "h200x8") -> list[str]:
    """Lines of what would run."""
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    config = str(made.folder / Path("trainer", "configs", f"{recipe}.yaml"))
    shared = ["org/base-hf", "org/MIS", "org/runs/arm", "--config", config, "--flavor", flavor]
    return job.make_job(parser.parse_args([*shared, *words]), made.folder).script.splitlines()


@pytest.mark.parametrize(
    ("recipe", "words", "wanted"),
    [("full", (), "fsdp2"), ("lora", (), "ddp"), ("qlora", (), "ddp"), ("lora", ("--parallel", "fsdp2"), "fsdp2")],
)
def test_gpus_share_what_fits_into_none_alone(made: Checkout, recipe: str, words: tuple[str, ...], wanted: str) -> None:
    assert (
        f"--config_file trainer/configs/accelerate/{wanted}.yaml --num_processes 8" in script(made, recipe, *words)[-1]
    )


def test_what_setup_does_not_install_is_installed(made: Checkout) -> None:
    assert not any("pip" in line for line in script(made, "full"))
    install = ".venv/bin/python -m pip install --quiet"
    assert f"{install} bitsandbytes" in script(made, "qlora", flavor="a100-large")
    assert f"{install} deepspeed" in script(made, "full", "--parallel", "zero3")


def test_what_a_job_cannot_do_is_refused_before_it_costs(made: Checkout) -> None:
    with pytest.raises(UsageError, match=r"gated\.yaml: a job has no judge for a gate"):
        script(made, "gated")
    with pytest.raises(UsageError, match=r"qlora\.yaml: weights in 4 bits cannot be sharded"):
        script(made, "qlora", "--parallel", "fsdp2")


@pytest.mark.parametrize("name", ["", "a b", "x;y", "a\nb", "--privileged"])
def test_an_image_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no name of an image"):
        job.image(name)
    assert job.image("registry.example:5000/org/name@sha256") == "registry.example:5000/org/name@sha256"


def test_a_time_that_has_no_end_is_refused() -> None:
    assert job.timeout("30d") == "30d"
    with pytest.raises(argparse.ArgumentTypeError, match="is no duration"):
        job.timeout("9" * 400)
