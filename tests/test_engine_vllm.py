"""The engine vllm, on a stand-in for the package: what it is told, and that it says what transformers says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from mis_dataset.chat import prompt
from tests import made_vllm
from tests.made_vllm import LLM
from tests.made_vlms import make_vlm
from tests.tiny import Tiny, attempt, call
from trainer import models
from trainer.artefacts import Response, read
from trainer.engines.vllm import _prompt
from trainer.prompts import Prompt
from trainer.sidecars import read_sidecar

FEW = ("--limit", 1, "--max-new-tokens", 4, "--float32")


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in made_vllm.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    LLM.made.clear()


@pytest.fixture(scope="module")
def lora(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the language model alone, bold enough to be heard."""
    import torch

    out = tmp_path_factory.mktemp("lora")
    layers = LoraConfig(r=4, target_modules=r".*language_model\..*\.(q_proj|v_proj|down_proj)")
    model = get_peft_model(models.load(tiny.model, float32=True)[0], layers)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(out)
    return out


def test_it_says_what_the_engine_transformers_says_with_an_adapter_and_without(
    tiny: Tiny, lora: Path, vllm: None, tmp_path: Path
) -> None:
    for engine in ("transformers", "vllm"):
        out = tmp_path / engine
        words = (*FEW, "--engine", engine, "--adapter", lora, "--also-base", out / "base.jsonl")
        call("generate", tiny.model, tiny.dataset, out / "adapted.jsonl", *words)
    for name in ("adapted.jsonl", "base.jsonl"):
        assert (tmp_path / "vllm" / name).read_bytes() == (tmp_path / "transformers" / name).read_bytes()
    adapted, base = (read(tmp_path / "vllm" / name, Response) for name in ("adapted.jsonl", "base.jsonl"))
    assert adapted != base
    sidecar = read_sidecar(tmp_path / "vllm" / "base.jsonl")
    assert (sidecar.settings["engine"], sidecar.device) == ("vllm", "cpu/float32")
    [llm] = LLM.made
    assert llm.about == {
        **{"seed": 0, "dtype": "float32", "max_model_len": 2048, "lora": True, "rank": 8},
        **{"pictures": {"image": 2, "video": 0}, "processor": None},
    }
    assert llm.asked == llm.most * 2 == 12  # all prompts of a file are there before the first has ended


def test_a_first_token_that_the_template_writes_comes_once(tiny: Tiny, vllm: None, tmp_path: Path) -> None:
    model = make_vlm(tmp_path / "model", "idefics3")
    for engine in ("transformers", "vllm"):
        call("generate", model, tiny.dataset, tmp_path / f"{engine}.jsonl", *FEW, "--engine", engine)
    assert (tmp_path / "vllm.jsonl").read_bytes() == (tmp_path / "transformers.jsonl").read_bytes()
    processor = models.load_processor(model)
    asked = Prompt("siuo/0", "Which is first?", ())
    text = processor.apply_chat_template(prompt(asked.question, 0), add_generation_prompt=True)
    once, twice = (processor.tokenizer(one).input_ids for one in (_prompt(processor, asked)["prompt"], text))
    begins = processor.tokenizer.bos_token_id
    assert (once.count(begins), twice) == (1, [begins, *once])
    processor.chat_template = "{{ '\\n' }}" + processor.chat_template
    assert processor.tokenizer(_prompt(processor, asked)["prompt"]).input_ids == once


def test_it_goes_on_where_it_was_stopped_and_asks_equal_prompts_once(tiny: Tiny, vllm: None, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    text_only = ("--limit", 2, "--pictures", "none")
    words = ("generate", tiny.model, tiny.dataset, out, *FEW, "--engine", "vllm", *text_only)
    assert call(*words)["n"] == 12
    whole = out.read_bytes()
    asked = LLM.made.pop().asked
    assert asked < 12
    out.with_name("r.jsonl.part").write_bytes(b"".join(whole.splitlines(keepends=True)[:9]))
    out.unlink()
    assert call(*words)["generated"] == 3
    assert LLM.made.pop().asked < asked
    assert out.read_bytes() == whole
    assert call(*words)["generated"] == 0
    assert LLM.made == []


def test_an_adapter_whose_weights_would_be_left_out_is_refused_by_their_name(
    tiny: Tiny, tiny_arm: Path, lora: Path, vllm: None, tmp_path: Path
) -> None:
    words = ("generate", tiny.model, tiny.dataset, tmp_path / "r.jsonl", *FEW, "--engine", "vllm", "--adapter")
    code, _, error = attempt(*words, tiny_arm / "adapter")
    assert code == 1
    assert "weights are no LoRA of the language model (first: base_model.model.model.multi_modal_projector" in error
    weights = load_file(lora / "adapter_model.safetensors")
    name, weight = next(iter(weights.items()))
    tower = name.replace("language_model", "vision_tower")
    save_file(weights | {tower: weight.clone()}, tmp_path / "adapter_model.safetensors")
    config = json.loads((lora / "adapter_config.json").read_text("utf-8"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    code, _, error = attempt(*words, tmp_path)
    assert code == 1
    assert f"1 weights are no LoRA of the language model (first: {tower})" in error
    assert LLM.made == []


@pytest.mark.parametrize(("rank", "pattern", "told"), [(16, {}, 16), (17, {}, 32), (8, {"q_proj": 200}, 256)])
def test_the_rank_is_the_next_that_vllm_takes(
    tiny: Tiny, lora: Path, vllm: None, tmp_path: Path, rank: int, pattern: dict[str, int], told: int
) -> None:
    from trainer.engines.vllm import _rank

    config = json.loads((lora / "adapter_config.json").read_text("utf-8")) | {"r": rank, "rank_pattern": pattern}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes((lora / "adapter_model.safetensors").read_bytes())
    assert _rank(tiny.model, tmp_path) == told


def test_where_it_is_not_installed_one_line_says_what_to_install(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    monkeypatch.setitem(sys.modules, "vllm", None)
    words = ("generate", tiny.model, tiny.dataset, tmp_path / "r.jsonl", *FEW, "--engine", "vllm")
    code, line, error = attempt(*words)
    assert (code, line, error.count("\n")) == (2, "", 1)
    assert "`pip install vllm==0.32.0 '.[trainer]'`" in error
