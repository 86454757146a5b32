"""What `accelerate launch` makes of the shipped configs: how many processes, and how they share a model."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from torch.distributed.fsdp import StateDictType
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from trainer.__main__ import make_parser
from trainer.recipe import CONFIGS

FOLDER = CONFIGS / "accelerate"
KINDS = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}


def command(name: str) -> list[str]:
    """The command in the header of a config."""
    (line,) = (one for one in (FOLDER / f"{name}.yaml").read_text().splitlines() if one.startswith("# Command:"))
    return shlex.split(line.removeprefix("# Command:"))


def launched(name: str) -> argparse.Namespace:
    """What accelerate understands of that command."""
    args = launch_command_parser().parse_args(command(name)[2:])
    return _validate_launch_command(args)[0]


def test_these_are_all_that_are_shipped() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.yaml" for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_a_config_is_for_8_gpus_of_one_machine_and_leaves_the_number_format_to_the_recipe(name: str) -> None:
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert isinstance(config, ClusterConfig)
    assert config.distributed_type.value == KINDS[name]
    assert (config.num_processes, config.num_machines, config.mixed_precision) == (8, 1, "no")


def test_a_key_that_accelerate_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text((FOLDER / "ddp.yaml").read_text() + "processes: 8\n")
    with pytest.raises(ValueError, match="unknown keys"):
        load_config_from_file(str(tmp_path / "wrong.yaml"))


@pytest.mark.parametrize("name", KINDS)
def test_the_command_in_the_header_starts_sft_with_this_config(name: str) -> None:
    args = launched(name)
    assert command(name)[:2] == ["accelerate", "launch"]
    assert Path(args.config_file) == Path("trainer/configs/accelerate") / f"{name}.yaml"
    assert (args.module, args.training_script, args.num_processes) == (True, "trainer", 8)
    assert make_parser().parse_args(args.training_script_args).verb == "sft"


def test_fsdp2_cuts_layers_and_saves_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, setting in prepare_multi_gpu_env(launched("fsdp2")).items():
        monkeypatch.setenv(variable, setting)
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert plugin.transformer_cls_names_to_wrap is None
    assert plugin.state_dict_type is StateDictType.SHARDED_STATE_DICT
    assert (plugin.activation_checkpointing, plugin.cpu_ram_efficient_loading) == (False, False)


def test_zero3_gathers_16_bit_weights_to_save_them(monkeypatch: pytest.MonkeyPatch) -> None:
    args = launched("zero3")
    args.deepspeed_fields_from_accelerate_config = ""
    for variable, setting in prepare_deepspeed_cmd_env(args)[1].items():
        monkeypatch.setenv(variable, setting)
    assert os.environ["ACCELERATE_USE_DEEPSPEED"] == "true"
    plugin = DeepSpeedPlugin()
    assert (plugin.zero_stage, plugin.zero3_init_flag, plugin.zero3_save_16bit_model) == (3, True, True)
    assert plugin.deepspeed_config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


def test_ddp_shares_nothing() -> None:
    args = launched("ddp")
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed) == (True, False, False)
