"""Which judge: what it needs, what it is shown, and on what its verdicts hang."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.errors import UsageError
from tests.made_gold import gold_line, write_gold
from tests.tiny import attempt
from trainer.engines.local import VERSION
from trainer.files import ArtefactError
from trainer.judges.choice import JUDGES, Choice, make_judge, version_of


def checkpoint(folder: Path, family: str, weights: bytes = b"weights") -> Choice:
    """A folder that looks like one; no weights are read for what is asked here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    (folder / "model.safetensors").write_bytes(weights)
    return Choice("llama_guard", str(folder))


@pytest.mark.parametrize(("family", "sees"), [("llama", False), ("mllama", True), ("llama4", True)])
def test_whether_a_llama_guard_sees_hangs_on_its_architecture(tmp_path: Path, family: str, sees: bool) -> None:
    assert checkpoint(tmp_path, family).sees is sees
    assert checkpoint(tmp_path, family).recorded()["sees"] is sees


def test_the_other_judges_see_or_do_not() -> None:
    assert [Choice(name).sees for name in ("mini_rules", "minilm", "keywords", "transformers")] == [False] * 3 + [True]


def test_verdicts_hang_on_every_byte_of_the_checkpoint_and_not_on_where_it_lies(tmp_path: Path) -> None:
    one, same = checkpoint(tmp_path / "a" / "guard", "llama"), checkpoint(tmp_path / "b" / "guard", "llama")
    other = checkpoint(tmp_path / "c" / "guard", "llama", b"other")
    assert one.recorded() == same.recorded()
    assert one.recorded()["checkpoint"] != other.recorded()["checkpoint"]
    assert one.recorded()["model"] == "guard"
    assert {"llama_guard.py", "local.py", "../engines/local.py", "judge", "judge_version"} < set(one.recorded())
    assert one.recorded()["version"] == VERSION
    assert "checkpoint" not in Choice("keywords").recorded()


def test_a_judge_that_is_asked_has_the_version_of_how_beside_that_of_verdicts() -> None:
    found = {name: version_of(name) for name in JUDGES}
    assert found == dict.fromkeys(JUDGES, "1-a") | dict.fromkeys(("openai", "transformers"), "1-a/2-a")


def test_a_judge_that_is_a_checkpoint_needs_its_folder(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "gold.jsonl", [gold_line(0, "No.", "declines")])
    for words, code, says in (
        (("transformers",), 2, "the judge transformers is a checkpoint; name its folder with --judge-model"),
        (("llama_guard",), 2, "the judge llama_guard is a checkpoint; name its folder with --judge-model"),
        (("keywords", "--judge-model", tmp_path), 2, "the judge keywords takes no --judge-model"),
        (("transformers", "--judge-model", tmp_path), 1, f"{tmp_path}: no checkpoint lies there"),
    ):
        found, line, error = attempt("calibrate", words[0], gold, tmp_path / "out.json", *words[1:])
        assert (found, line, says in error) == (code, "", True), error
        found, line, error = attempt("judge", gold, tmp_path / "out.jsonl", "--dataset", tmp_path, "--judge", *words)
        assert (found, line, says in error) == (code, "", True), error
    assert [path.name for path in tmp_path.iterdir()] == ["gold.jsonl"]


USELESS = [
    (
        "keywords --judge-max-cost 5 --judge-base-url http://x/v1 --judge-max-tokens 9",
        "--judge-max-tokens, --judge-base-url, --judge-max-cost: of no use to the judge keywords",
    ),
    ("transformers --judge-model x --judge-max-tokens 9 --judge-no-seed", "--judge-no-seed: of no use to the judge tr"),
    ("llama_guard --judge-model x --judge-max-tokens 9", "--judge-max-tokens: of no use to the judge llama_guard"),
]


@pytest.mark.parametrize(("words", "says"), USELESS)
def test_a_flag_that_would_do_nothing_is_wrong_use(tmp_path: Path, words: str, says: str) -> None:
    gold = write_gold(tmp_path / "gold.jsonl", [gold_line(0, "No.", "declines")])
    name, *flags = words.split()
    for verb in (
        ("calibrate", name, gold, tmp_path / "out.json", *flags),
        ("judge", gold, tmp_path / "out.jsonl", "--dataset", tmp_path, "--judge", name, *flags),
    ):
        code, line, error = attempt(*verb)
        assert (code, line, error.startswith(f"{verb[0]}: {says}")) == (2, "", True), error
    assert [path.name for path in tmp_path.iterdir()] == ["gold.jsonl"]


def test_a_retry_of_a_judge_that_makes_no_call_is_wrong_use(tmp_path: Path) -> None:
    code, _, error = attempt("judge", tmp_path / "r", tmp_path / "v", "--dataset", tmp_path, "--retry")
    assert (code, error.startswith("judge: --retry: of no use to the judge mini_rules")) == (2, True)


def test_a_judge_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ArtefactError, match=r"no judge 'gpt'; there are mini_rules, .*transformers, llama_guard"):
        make_judge(Choice("gpt"))
    with pytest.raises(UsageError, match="name its folder"):
        make_judge(Choice("transformers"))
