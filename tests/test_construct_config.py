"""Settings and seeds of a construction: what is read, what is refused, with which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.construct.config import read_config
from mis_dataset.construct.rows import Seed
from mis_dataset.construct.seeds import read_seeds
from mis_dataset.errors import MISError
from mis_dataset.remote.settings import Budget, Prices, Settings

WHOLE = """
seeds: [a.jsonl, more/b.jsonl]
text: {model: text, prices: [1, 2]}
vision: {model: vision, in_flight: 32}
drawing: {model: draws, prices: [0, 0, 0.04], picture_format: null}
judges: [{model: one}, {model: two}]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "construct.yaml").write_text(text)
    return folder / "construct.yaml"


def test_a_file_of_settings_is_read(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, f"{WHOLE}\nbudget: {{calls: 10}}\nquotas: {{train: 7}}\nobjects: 3"))
    assert config.seeds == (tmp_path / "a.jsonl", tmp_path / "more" / "b.jsonl")
    assert (config.objects, config.per_seed, config.rounds, config.quotas) == (3, 2, 2, {"train": 7})
    assert isinstance(config.drawing, Settings)
    assert (config.text.prices, config.drawing.prices) == (Prices(1, 2), Prices(0, 0, 0.04))
    assert (config.vision.in_flight, config.drawing.picture_format) == (32, None)
    assert [judge.model for judge in config.judges] == ["one", "two"]
    assert config.text.budget == config.judges[1].budget == Budget(calls=10)


def test_all_models_are_asked_in_the_version_of_the_prompts(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, WHOLE))
    assert isinstance(config.drawing, Settings)
    versions = {settings.version for settings in (config.text, config.vision, config.drawing, *config.judges)}
    [version] = versions
    assert version.startswith("1-c ")


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("obejcts: 2", "obejcts is no setting of a construction"),
        ("objects: 5", "objects is no whole number from 2 to 4"),
        ("objects: true", "objects is no whole number from 2 to 4"),
        ("blocks: 1", "blocks is neither true nor false"),
        ("rounds: 0", "rounds is no whole number from 1 to 10"),
        ("size: 512", "size is no text"),
        ("quotas: [1]", "quotas is no table"),
        ("second: sees-too", r"second is no table, such as \{model: some-vlm\}"),
        ("quotas: {hard: 1}", "quotas: hard is none of train, test_easy, test_hard, test_real, or its number"),
        (
            "quotas: {train: -1}",
            "quotas: train is none of train, test_easy, test_hard, test_real, or its number",
        ),
        ("budget: {money: 1}", "vision: budget: a limit of money needs prices"),
        ("budget: {mony: 1}", "unexpected keyword argument 'mony'"),
        ("budget: {calls: many}", "budget: a limit is no number"),
        ('review: "a\\0b"', "review holds a zero byte"),
        ('experts: {against: ["\\0"]}', "experts holds a zero byte"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, more: str, fault: str) -> None:
    with pytest.raises(MISError, match=fault):
        read_config(written(tmp_path, f"{WHOLE}\n{more}\n"))


@pytest.mark.parametrize(
    ("was", "now", "fault"),
    [
        ("seeds: [a.jsonl, more/b.jsonl]", "seeds: a.jsonl", "seeds is no list of names of files and tables"),
        ("seeds: [a.jsonl, more/b.jsonl]", "", "seeds is missing"),
        ("judges: [{model: one}, {model: two}]", "judges: [{model: one}]", "judges are two"),
        ("{model: two}", "{model: one}", "judges: both are one at one address; name two models"),
        ("{model: two}", "{model: one, temperature: 1}", "judges: both are one at one address; name two models"),
        ("{model: two}", "{model: two, version: x}", "judges: version is no setting of a model"),
        ("{model: two}", "{model: two, key: secret}", "judges: key is no setting of a model"),
        ("{model: two}", "{in_flight: 3}", "judges: .*missing 1 required positional argument: 'model'"),
        ("in_flight: 32", "in_flight: 0", "vision: in_flight"),
        ("prices: [1, 2]", "prices: [1]", "text: prices are two numbers"),
        ("prices: [1, 2]", "prices: [1, x]", "text: prices: one is no number"),
        ("{model: two}", "{model: [two]}", "judges: model is no text of one line"),
        ("{model: two}", '{model: "two\\nlines"}', "judges: model is no text of one line"),
        ("a.jsonl", '"a\\0.jsonl"', "seeds holds a zero byte"),
    ],
)
def test_what_is_wrong_with_a_model_is_named(tmp_path: Path, was: str, now: str, fault: str) -> None:
    assert was in WHOLE
    with pytest.raises(MISError, match=fault):
        read_config(written(tmp_path, WHOLE.replace(was, now)))


def test_a_second_opinion_of_the_same_model_is_none(tmp_path: Path) -> None:
    vision = read_config(written(tmp_path, WHOLE)).vision
    second = f'second: {{model: "{vision.model}", base_url: "{vision.base_url}", prices: [1, 2]}}'
    with pytest.raises(MISError, match=f"vision and second: both are {vision.model} at one address; name two models"):
        read_config(written(tmp_path, f"{WHOLE}\n{second}\n"))


def test_judges_of_one_name_at_two_addresses_are_two(tmp_path: Path) -> None:
    text = WHOLE.replace("{model: two}", '{model: one, base_url: "http://127.0.0.1:9/v1"}')
    assert [judge.model for judge in read_config(written(tmp_path, text)).judges] == ["one", "one"]


def test_seeds_of_several_files_get_ids_of_ours_and_the_same_text_is_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    lines = [{"text": "one", "id": "../x"}, {"text": "two", "category": "Hate", "licence": "MIT", "source": "a\nb"}]
    first.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    second.write_text(json.dumps({"text": "one"}) + "\n" + json.dumps({"text": "\ud800 three"}))
    assert list(read_seeds([first, second])) == [
        Seed("s1", "one", "a.jsonl:1"),
        Seed("s2", "two", "a\\nb", "MIT", "Hate"),
        Seed("s3", "\ufffd three", "b.jsonl:2"),
    ]
    assert [seed.id for seed in read_seeds([first, second], limit=1)] == ["s1"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("secret words", r"a\.jsonl:2: is no JSON; write one object a line"),
        ("[1]", r'a\.jsonl:2: has no "text"'),
        ('{"text": 7}', r'a\.jsonl:2: has no "text"'),
        ('{"text": " "}', r'a\.jsonl:2: has no "text"'),
        ('{"text": NaN}', r"a\.jsonl:2: is no JSON"),
        ('{"text": "x", "category": "Cooking"}', r"a\.jsonl:2: category is none of Illegal Activity"),
        ('{"text": "' + "x" * 2**21 + '"}', r"a\.jsonl:2: has 2097164 bytes, a seed at most 2097152"),
    ],
)
def test_a_line_that_is_no_seed_is_named_and_not_repeated(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n' + line)
    with pytest.raises(MISError, match=fault) as refused:
        list(read_seeds([tmp_path / "a.jsonl"]))
    assert "secret words" not in str(refused.value)
    assert [seed.id for seed in read_seeds([tmp_path / "a.jsonl"], limit=1)] == ["s1"]  # it stands behind


def test_the_verb_tells_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = str(written(tmp_path, WHOLE))
    assert main(["construct", str(tmp_path / "out"), "--config", config]) == 1
    assert "a.jsonl: No such file or directory" in capsys.readouterr().err
    for name in ("a.jsonl", "more/b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "one"}')
    assert main(["construct", str(tmp_path / "out"), "--config", config]) == 2
    assert "the environment variable OPENAI_API_KEY is not set" in capsys.readouterr().err
    assert main(["construct", str(tmp_path / "out"), "--config", str(tmp_path / "none.yaml")]) == 1
