"""What of an original's weights and settings is refused, each fault named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mis_dataset.errors import UsageError
from tests.made_internvl_chat import SIZES, make_config, make_weights, write
from trainer.convert_internvl import convert, restore
from trainer.internvl.layout import ConvertError

TOKENS = 40
INDEX = "model.safetensors.index.json"


@pytest.fixture
def original(tmp_path: Path) -> Path:
    config = make_config(SIZES["26B"], TOKENS)
    return write(tmp_path / "original", config, make_weights(config), shards=3)


def refused(folder: Path, *said: str) -> None:
    """That it is refused with these words, and leaves nothing behind."""
    with pytest.raises(ConvertError) as caught:
        convert(folder, folder.with_name("native"), image_token=5)
    for one in said:
        assert one in str(caught.value)
    assert sorted(path.name for path in folder.parent.iterdir() if "native" in path.name) == []


def change_weights(folder: Path, file: str, **changes: Any) -> None:
    """Puts tensors into a shard and its index, or takes them out of both."""
    weights = load_file(folder / file)
    index = json.loads((folder / INDEX).read_text())
    for name, tensor in changes.items():
        if tensor is None:
            del weights[name], index["weight_map"][name]
        else:
            weights[name] = tensor
            index["weight_map"].setdefault(name, file)
    save_file(weights, folder / file)
    (folder / INDEX).write_text(json.dumps(index))


def change_index(folder: Path, change: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


FIRST, LAST = "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
CLASS = "vision_model.embeddings.class_embedding"


def test_missing_and_unknown_tensors_and_wrong_shapes_are_named_in_one_error(original: Path) -> None:
    gone: dict[str, Any] = dict.fromkeys(sorted(load_file(original / LAST))[:3])
    change_weights(original, LAST, **gone)
    change_weights(original, FIRST, **{"vision_model.head.weight": torch.zeros(3), CLASS: torch.zeros(1, 1, 7)})
    refused(
        original,
        f"3 tensors are missing ({', '.join(gone)})",
        "1 tensors are unknown (vision_model.head.weight)",
        f"1 tensors have another shape than config.json says ({CLASS} is [1, 1, 7], not [1, 1, 24])",
    )


def test_of_many_missing_tensors_the_first_are_named_and_all_counted(original: Path) -> None:
    config = json.loads((original / "config.json").read_text())
    config["llm_config"]["num_hidden_layers"] = 4
    (original / "config.json").write_text(json.dumps(config))
    first = "language_model.model.layers.2.attention.wo.weight"
    refused(original, f"14 tensors are missing ({first}, ", ", ...)")


def test_numbers_that_are_not_floating_point_are_refused(original: Path) -> None:
    change_weights(original, FIRST, **{CLASS: torch.zeros(1, 1, 24, dtype=torch.int8)})
    refused(original, f"1 tensors are not of F32, BF16, F16 ({CLASS} is I8)")


def test_a_header_that_names_a_tensor_twice_is_refused(original: Path) -> None:
    content = (original / FIRST).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].decode().strip()
    one = json.dumps(CLASS) + ":" + json.dumps(json.loads(header)[CLASS])
    twice = (header[:-1] + "," + one + "}").encode()
    (original / FIRST).write_bytes(len(twice).to_bytes(8, "little") + twice + content[8 + length :])
    refused(original, str(original / FIRST))


def test_numbers_of_several_formats_do_not_become_one_tensor(original: Path, tmp_path: Path) -> None:
    convert(original, tmp_path / "native", image_token=5)
    name = "vision_tower.encoder.layer.0.attention.k_proj.weight"
    [file] = [one.name for one in (tmp_path / "native").glob("*.safetensors") if name in load_file(one)]
    change_weights(tmp_path / "native", file, **{name: torch.zeros(24, 24, dtype=torch.float16)})
    with pytest.raises(ConvertError, match=r"1 tensors and those beside them.*layer\.0\.attention\.q_proj\.weight"):
        restore(tmp_path / "native", tmp_path / "back")


def test_a_tensor_in_two_shards_is_refused(original: Path) -> None:
    weights = load_file(original / LAST)
    save_file({**weights, CLASS: load_file(original / FIRST)[CLASS]}, original / LAST)
    refused(original, f"1 tensors are in two shards ({CLASS})")


def test_an_index_that_names_a_tensor_twice_is_refused(original: Path) -> None:
    text = (original / INDEX).read_text()
    (original / INDEX).write_text(text.replace('"weight_map": {', f'"weight_map": {{"{CLASS}": "{FIRST}", '))
    refused(original, INDEX, f"{CLASS} stands there twice")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update({CLASS: LAST}), "1 tensors lie in another shard than the index says"),
        (lambda w: w.pop(CLASS), "1 tensors of the shards are not in the index"),
        (lambda w: w.update(x=FIRST), "1 tensors of the index are not in its shards (x)"),
        (lambda w: w.update({CLASS: "gone.safetensors"}), "1 shards are missing (gone.safetensors)"),
        (lambda w: w.update({CLASS: "../outside.safetensors"}), "1 shards are no names of safetensors in this folder"),
        (lambda w: w.update({CLASS: "/outside.safetensors"}), "'/outside.safetensors'"),
        (lambda w: w.update({CLASS: "weights.bin"}), "'weights.bin'"),
        (lambda w: w.update({CLASS: 5}), "'5'"),
        (dict.clear, "names no tensor"),
    ],
)
def test_an_index_that_is_not_that_of_its_shards_is_refused(original: Path, change: Any, said: str) -> None:
    change_index(original, change)
    refused(original, INDEX, said)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": null}', "\ud800"])
def test_an_index_that_is_none_is_one_clear_error(original: Path, content: str) -> None:
    (original / INDEX).write_bytes(content.encode(errors="surrogatepass"))
    refused(original, INDEX)


@pytest.mark.parametrize("left", [0, 7, 300, -1])
def test_a_shard_that_is_cut_off_is_named(original: Path, left: int) -> None:
    content = (original / LAST).read_bytes()
    (original / LAST).write_bytes(content[:left])
    refused(original, str(original / LAST), "is cut off")


def test_pickles_are_not_read_and_it_is_said_what_to_do(original: Path) -> None:
    for file in original.glob("*.safetensors*"):
        file.unlink()
    refused(original, "no weights lie there")
    (original / "pytorch_model-00001-of-00002.bin").write_bytes(b"never read")
    refused(original, "a pickle (pytorch_model-00001-of-00002.bin)", "*.safetensors")


def test_a_folder_without_a_config_and_one_of_another_model_are_refused(original: Path) -> None:
    (original / "config.json").write_text(json.dumps({"model_type": "internvl"}))
    refused(original, "model type 'internvl' is not that of an original InternVL2.5, 'internvl_chat'")
    (original / "config.json").unlink()
    refused(original, str(original), "no checkpoint lies there")


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        (None, {"template": "phi3-chat"}, "template is 'phi3-chat', must be 'internvl2_5'"),
        (None, {"ps_version": "v1"}, "ps_version is 'v1'"),
        (None, {"select_layer": -4}, "select_layer is -4"),
        (None, {"use_llm_lora": 16}, "use_llm_lora is 16"),
        (None, {"pad2square": True}, "pad2square is True"),
        (None, {"use_thumbnail": False}, "use_thumbnail is off"),
        (None, {"min_dynamic_patch": True}, "min_dynamic_patch is True"),
        (None, {"max_dynamic_patch": None}, "max_dynamic_patch is no count"),
        (None, {"max_dynamic_patch": 0}, "max_dynamic_patch is no count"),
        (None, {"dynamic_image_size": "yes"}, "dynamic_image_size is neither true nor false"),
        (None, {"force_image_size": 448}, "the tower is made for 56"),
        (None, {"downsample_ratio": 0.3}, "cannot be made smaller by 0.3"),
        (None, {"llm_config": None}, "llm_config is missing"),
        ("llm_config", {"model_type": "phi3"}, "'phi3' is not known; known are internlm2, qwen2"),
        ("llm_config", {"rope_theta": None}, "llm_config.rope_theta is missing"),
        ("llm_config", {"rope_theta": "1e6"}, "rope_theta is '1e6', no number"),
        ("llm_config", {"num_key_value_heads": 3}, "key-value heads do not divide the heads"),
        ("llm_config", {"vocab_size": "40"}, "llm_config.vocab_size is '40', no count"),
        ("llm_config", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "'yarn'"),
        ("llm_config", {"rope_scaling": {"type": "dynamic"}}, "no factor"),
        ("llm_config", {"num_hidden_layers": 10**9}, "llm_config.num_hidden_layers is 1000000000, more than 1000"),
        ("llm_config", {"hidden_act": []}, "llm_config.hidden_act is no text"),
        ("vision_config", {"qkv_bias": "no"}, "vision_config.qkv_bias is neither true nor false"),
        ("vision_config", {"num_attention_heads": 5}, "24 cannot be shared by 5 heads"),
        ("vision_config", {"norm_type": "batch_norm"}, "norm_type 'batch_norm' is not known"),
        ("vision_config", {"layer_norm_eps": 1e-5}, "with qk_normalization it must be 1e-06"),
    ],
)
def test_what_the_native_model_cannot_do_is_refused_by_name(
    original: Path, part: str | None, changes: dict[str, Any], said: str
) -> None:
    config = json.loads((original / "config.json").read_text())
    (config[part] if part else config).update(changes)
    (original / "config.json").write_text(json.dumps(config))
    refused(original, str(original / "config.json"), said)


def test_the_way_back_refuses_what_is_no_native_internvl(original: Path, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="model type 'internvl_chat' is not that of a converted checkpoint"):
        restore(original, tmp_path / "back")
    for config in ({}, {"text_config": {"model_type": "gemma"}, "vision_config": {}}, {"text_config": [1]}):
        (original / "config.json").write_text(json.dumps({"model_type": "internvl", **config}))
        with pytest.raises(ConvertError, match=str(original / "config.json")):
            restore(original, tmp_path / "back")


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("text_config", {"num_hidden_layers": 10**9}, "more than 1000 layers"),
        ("text_config", {"num_hidden_layers": "2"}, "no counts: layers"),
        ("text_config", {"hidden_size": None}, "no counts: width"),
        ("text_config", {"num_attention_heads": 3}, "do not fit together"),
        ("text_config", {"vocab_size": -1}, "no counts: vocabulary"),
        ("vision_config", {"image_size": []}, "IndexError"),
        (None, {"downsample_ratio": 1e-320}, "OverflowError"),
    ],
)
def test_the_way_back_refuses_sizes_that_no_model_has(
    original: Path, tmp_path: Path, part: str | None, changes: dict[str, Any], said: str
) -> None:
    convert(original, tmp_path / "native", image_token=5)
    config = json.loads((tmp_path / "native" / "config.json").read_text())
    (config[part] if part else config).update(changes)
    (tmp_path / "native" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConvertError, match=said) as caught:
        restore(tmp_path / "native", tmp_path / "back")
    assert str(tmp_path / "native" / "config.json") in str(caught.value)
    assert not (tmp_path / "back").exists()


def test_what_somebody_put_beside_the_kept_settings_does_not_replace_what_is_written(
    original: Path, tmp_path: Path
) -> None:
    convert(original, tmp_path / "native", image_token=5)
    for name in (FIRST, INDEX, "evil.py", "pytorch_model.bin"):
        (tmp_path / "native" / "original" / name).write_text("{}")
    restore(tmp_path / "native", tmp_path / "back")
    assert load_file(tmp_path / "back" / FIRST).keys() == load_file(original / FIRST).keys()
    assert json.loads((tmp_path / "back" / INDEX).read_text())["weight_map"]
    assert not [name for name in ("evil.py", "pytorch_model.bin") if (tmp_path / "back" / name).exists()]
    assert (tmp_path / "back" / "config.json").read_bytes() == (original / "config.json").read_bytes()


def test_a_link_is_no_new_folder_and_nothing_is_left_beside_it(original: Path, tmp_path: Path) -> None:
    (tmp_path / "native").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="native: holds something else"):
        convert(original, tmp_path / "native", image_token=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["native", "original"]
