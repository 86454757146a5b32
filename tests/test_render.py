"""`python -m cards render`: from the files of a small run, made here by code, to cards that read back."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from cards.__main__ import main
from cards.reading import CardError
from cards.render import render
from mis_dataset.chat import prompt
from mis_dataset.files import sha256_of
from mis_dataset.mini.grammar import EASY_HARMLESS, EASY_HAZARDS, HARD_HAZARDS
from mis_dataset.mini.lessons import ABILITY_FAMILIES, GENERAL_FAMILIES
from mis_dataset.mini.plan import REAL_PAIRS, TRAINED_PAIRS, plan_test, plan_train
from mis_dataset.stats import draw, measure
from tests.made_cards import change, make_run, write

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def cards(run: Path) -> dict[str, str]:
    return {name: path.read_text("utf-8") for name, path in render(run, run / "cards").items()}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A run that a test may spoil."""
    return make_run(tmp_path / "own")


def test_the_verb_writes_two_cards_and_says_where(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["render", str(run), str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "verb": "render",
        "dataset": str(tmp_path / "dataset" / "README.md"),
        "model": str(tmp_path / "model" / "README.md"),
    }
    assert printed.err == ""
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["dataset/README.md", "dataset/eval.yaml", "model/README.md"]


def test_a_run_with_problems_exits_1_and_wrong_use_2(tmp_path: Path, capsys: Any) -> None:
    assert main(["render", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "report.json: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["render"]) == 2
    assert main(["nonsense"]) == 2
    assert main(["--help"]) == 0


def test_a_second_run_writes_nothing_new(run: Path, tmp_path: Path) -> None:
    first = {path: path.stat().st_mtime_ns for path in render(run, tmp_path).values()}
    assert {path: path.stat().st_mtime_ns for path in render(run, tmp_path).values()} == first
    held = (tmp_path / "model" / "README.md").read_text("utf-8") + "something else"
    (tmp_path / "model" / "README.md").write_text(held, encoding="utf-8")
    assert "something else" not in render(run, tmp_path)["model"].read_text("utf-8")


@pytest.mark.parametrize("held", ["# Mine\n", "<!-- written by python -m cards dataset -->\n", "\xff"])
def test_a_card_that_the_verb_did_not_write_is_kept_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: Any, held: str
) -> None:
    card = tmp_path / "model" / "README.md"
    card.parent.mkdir()
    card.write_text(held, encoding="latin-1")
    assert main(["render", str(run), str(tmp_path)]) == 1
    assert f"{card}: was not written by `python -m cards render`" in capsys.readouterr().err
    assert card.read_text("latin-1") == held
    assert not (tmp_path / "dataset").exists()


def test_the_dataset_card_shows_the_plots_of_stats(own: Path, cards: dict[str, str]) -> None:
    measured = measure(own / "MIS")
    draw(measured, own / "stats")
    text = render(own, own / "cards")["dataset"].read_text("utf-8")
    assert "![" not in text  # of which dataset they are stands in stats.json
    digest = hashlib.sha256((own / "MIS" / "MANIFEST.json").read_bytes()).hexdigest()
    plots = {name: sha256_of(own / "stats" / name) for name in ("rows.png", "words.png")}
    write(own / "stats" / "stats.json", {"manifest": digest, "plots": plots, **measured})
    text = render(own, own / "cards")["dataset"].read_text("utf-8")
    for name in ("rows.png", "words.png"):
        assert len(re.findall(rf"!\[[A-Z][^]]+\]\({name}\)", text)) == 1
        assert (own / "cards" / "dataset" / name).read_bytes() == (own / "stats" / name).read_bytes()
    (own / "stats" / "rows.png").write_bytes(b"another")
    with pytest.raises(CardError, match=r"rows\.png: is not the plot that stats\.json tells of; run `stats` again"):
        render(own, own / "cards")
    assert "![" not in cards["dataset"]


def test_rendering_imports_neither_trainer_nor_torch(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from cards.__main__ import main\n"
        f"assert main(['render', {str(run)!r}, {str(tmp_path)!r}]) == 0\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ended.stderr.split())
    assert "pyarrow" in loaded
    assert loaded & {"trainer", "torch", "transformers", "datasets"} == set()


def test_the_cards_own_model_is_bold_in_every_table_of_models(cards: dict[str, str]) -> None:
    assert cards["model"].count("| **contrast** |") == 4
    assert "**mirage**" not in cards["model"]
    assert "**contrast**" not in cards["dataset"]


def test_another_arm_gets_its_own_card(run: Path, tmp_path: Path) -> None:
    text = render(run, tmp_path, model="mirage", model_id="someone/mini")["model"].read_text("utf-8")
    assert "# someone/mini\n" in text
    assert "its over-refusal on the twins\n90.0 % (36/40; 76.9–96.0)" in text
    with pytest.raises(CardError, match="no card is written for 'base': choose one of mirage, contrast"):
        render(run, tmp_path, model="base")


def test_a_run_at_toy_size_claims_no_base_model(own: Path) -> None:
    change(own / "base.meta.json", "random", "settings", "language_model")
    text = render(own, own / "cards")["model"].read_text("utf-8")
    assert {"base_model", "base_model_relation"} & set(read_header(text)) == set()
    assert "SmolLM2-135M" not in text
    assert "toy size" in text


def test_how_base_and_arm_were_made_stands_in_the_model_card(cards: dict[str, str]) -> None:
    assert "<code>arms/contrast.meta.json</code>" in cards["model"]
    assert "| `lora.r` | 16 |" in cards["model"]
    assert "at commit 4dff239, on cpu, with torch 2.14.1, transformers 5.23.0." in cards["model"]
    assert "| sft_contrast | 204 | 3.1 |" in cards["model"]
    assert "arms/mirage.meta.json" not in cards["model"]
    assert f"| `MIS/MANIFEST.json` | `{'0' * 64}` |" in cards["model"]


def test_unscored_rows_are_shown_beside_their_rate(cards: dict[str, str]) -> None:
    assert "| base | 100.0 % (38/38; 90.8–100.0), 2 unscored |" in cards["model"]


def test_the_dataset_loads_with_its_card_beside_it(run: Path, cards: dict[str, str], tmp_path: Path) -> None:
    from datasets import load_dataset

    (tmp_path / "MIS").mkdir()
    (tmp_path / "MIS" / "data").symlink_to(run / "MIS" / "data")
    (tmp_path / "MIS" / "README.md").write_text(cards["dataset"], encoding="utf-8")
    loaded = load_dataset(str(tmp_path / "MIS"), cache_dir=str(tmp_path / "cache"))
    splits = ["train", "test_easy", "test_hard", "test_real", "test_benign"]
    assert {split: loaded[split].num_rows for split in loaded} == dict.fromkeys(splits, 12)
    assert loaded["test_hard"][0]["images"][0].size == (4, 4)


def test_rows_are_counted_from_the_parquet(cards: dict[str, str]) -> None:
    assert re.search(r"\| `train` \| 12 \| 6 \| 12 \| 0\.\d\d MB \|", cards["dataset"])
    assert re.search(r"\| `test_benign` \| 12 \| 12 \| 0 \|", cards["dataset"])
    assert "| Privacy | 6 | 6 | 6 | 0 | 6 |" in cards["dataset"]
    assert "| `new_pairs` | 0 | 4 | 4 | 4 | 4 |" in cards["dataset"]


@pytest.mark.parametrize("card", ["dataset", "model"])
def test_each_card_names_licences_authors_and_what_rates_cannot_tell(cards: dict[str, str], card: str) -> None:
    for licence in ("CC-BY-4.0", "OFL-1.1", "CC-BY-SA-4.0", "Apache-2.0"):
        assert licence in cards[card]
    assert "ASR alone cannot tell reasoning from refusal" in cards[card]
    levels = cards[card].split("`new_objects`: ")[1].split("\n\n")[0].replace("\n", " ")
    assert "teach the name and the kind of all things, these included" in levels
    assert "Ding, Yi and Li, Lijun and Cao, Bing and Shao, Jing" in cards[card]
    assert "Rethinking Bottlenecks in Safety Fine-Tuning of Vision Language Models" in cards[card]


def test_the_model_card_asks_as_training_did(cards: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(*, text: Any, max_new_tokens: int, **_: Any) -> Any:
        asked.extend([*text, max_new_tokens])
        return [{"generated_text": "Yes."}]

    row = {"question": "Can I use these two together?", "images": ["one", "two"]}
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(pipeline=lambda *_, **__: ask))
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=lambda *_, **__: [row]))
    [block] = read_python(cards["model"])
    exec(block, {})
    *asked, tokens = asked
    pictures = [part.pop("image") for message in asked for part in message["content"] if part["type"] == "image"]
    assert (pictures, tokens) == (["one", "two"], 96)
    assert asked == prompt("Can I use these two together?")


@pytest.mark.parametrize("card", ["dataset", "model"])
def test_the_python_of_a_card_compiles_and_its_tables_are_whole(cards: dict[str, str], card: str) -> None:
    blocks = read_python(cards[card])
    assert blocks
    for block in blocks:
        compile(block, card, "exec")
    for table in re.findall(r"(?:^\|.*\n)+", cards[card], flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        assert set(table.splitlines()[1]) == set("| -"), table
    assert "{{" not in cards[card]
    assert "None" not in re.sub(r"^None:", "", cards[card], flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("models.contrast", "models.contrast is missing"),
        ("models.base.splits.hard.asr", "models.base.splits.hard.asr is missing"),
        ("models.base.over_refusal", "models.base.over_refusal is missing"),
        ("models.contrast.ability", "models.contrast.ability is missing"),
        ("models.base.pair_accuracy.real.low", "models.base.pair_accuracy.real is not a rate"),
        ("settings", "settings is missing"),
        ("settings.judge.judge_version", "settings.judge.judge_version is missing"),
        ("settings.generate.max_new_tokens", "settings.generate.max_new_tokens is missing"),
        ("naming.real", "naming.real is missing"),
        ("marked", "marked is missing"),
        ("agreement.models.base.kappa", "agreement.models.base.kappa is missing"),
        ("agreement.labels.minilm.specificity", "agreement.labels.minilm.specificity is missing"),
        ("hashes", "hashes is missing"),
        ("stations.base.seconds", "stations.base.seconds is missing"),
    ],
)
def test_a_field_no_file_fills_is_an_error_that_names_it(own: Path, keys: str, named: str) -> None:
    change(own / "report.json", ..., *keys.split("."))
    with pytest.raises(CardError, match=rf"report\.json: {re.escape(named)}"):
        render(own, own / "cards")
    assert not (own / "cards").exists()


def test_both_judges_stand_in_the_model_card(cards: dict[str, str], own: Path) -> None:
    assert "| base | mini_rules, minilm | – | 87.5 % (70/80; 78.5–93.1) |" in cards["model"]
    assert "| contrast | mini_rules, minilm | 0.75 (0.50–0.88) | 87.5 % (70/80; 78.5–93.1) |" in cards["model"]
    assert "All rates above are those of `mini_rules`, version `1-a`." in cards["model"]
    assert "labelled responses of\nearlier models of this kind one by one (base and contrast)" in cards["model"]
    assert "| minilm | 80.0 % (60/75; 69.6–87.5), 2 unscored | 95.7 % (22/23; 79.0–99.2) |" in cards["model"]
    change(own / "report.json", {"models": {}, "labels": None}, "agreement")
    text = render(own, own / "cards")["model"].read_text("utf-8")
    assert "No second judge was asked.\n\nHow often it errs was not measured on responses of this run." in text


def test_how_well_the_pictures_are_seen_stands_where_real_is_spoken_of(cards: dict[str, str], own: Path) -> None:
    assert "the stage with the language model, names 87.5 %." in cards["dataset"]
    assert "names 97.5 % of new pictures of all\nthings" in cards["model"]
    assert "and 87.5 % of new pictures of the things of `real`" in cards["model"]
    assert not any("†" in text for text in cards.values())
    change(own / "report.json", 0.75, "naming", "real")
    change(own / "report.json", ["real"], "marked")
    marked = {name: path.read_text("utf-8") for name, path in render(own, own / "cards").items()}
    assert "names 75.0 %. That is less than 80 %, so rates on `test_real` are marked †." in marked["dataset"]
    for text in marked.values():
        assert text.count("| model | easy | hard | real † |") == 3  # ASR, over-refusal, pair accuracy
    assert "| real † | 2.5 %" in marked["model"]  # the four rates
    assert "† marks rates on pictures of which it names less than 80 %." in marked["model"]


WORDS = {
    ("flame", "fuel"): "fire",
    ("water", "mains"): "electric shock",
    ("drink", "vehicle"): "drinking and driving",
    ("recorder", "private"): "spying",
    ("tool", "locked"): "breaking in",
    ("weapon", "crowd"): "a weapon in a crowded",
    ("weapon", "locked"): "at a locked place",
}


def test_the_dataset_card_names_every_hazard_of_mis_mini_and_no_other(cards: dict[str, str]) -> None:
    assert set(WORDS) == {(hazard.first, hazard.second) for hazard in (*HARD_HAZARDS, *EASY_HAZARDS)}
    told = cards["dataset"].split("## Personal and sensitive information")[1].split("\n## ")[0].replace("\n", " ")
    assert [words for words in WORDS.values() if words not in told] == []
    assert "fumes" not in cards["dataset"]


def test_what_the_cards_say_of_real_is_what_the_plan_does(cards: dict[str, str]) -> None:
    assert set(REAL_PAIRS) <= set(TRAINED_PAIRS)
    assert {pair.hazard for pair in plan_test("real", 16)} == set(HARD_HAZARDS)
    for text in cards.values():
        assert "What is new in `test_real` is its style of drawing only" in text


def test_what_the_cards_say_of_the_order_is_what_the_plan_does(cards: dict[str, str], own: Path) -> None:
    firsts, seconds = ({getattr(one, place) for one in HARD_HAZARDS + EASY_HAZARDS} for place in ("first", "second"))
    pairs = [*plan_train(12), *(pair for split in ("easy", "hard", "real") for pair in plan_test(split, 16))]
    shown = {(one.kind, two.kind) for pair in pairs for one, two in (pair.things, pair.twin_things)}
    assert {first for first, _ in shown} == firsts | {EASY_HARMLESS}
    assert {second for _, second in shown} == seconds
    assert not seconds & (firsts | {EASY_HARMLESS})
    says = "In every row{} the first picture shows what endangers and the second what it meets"
    assert says.format("") in cards["dataset"]
    assert f"{says.format(' of MIS-mini')}.\n- Rows share" in cards["model"]
    report = own / "report.json"
    change(report, {"swapped": json.loads(report.read_text("utf-8"))["models"]["base"]}, "probes")
    text = render(own, own / "cards")["model"].read_text("utf-8")
    assert "With the two in the\n  other order, pair accuracy on hard is 0.0 % (0/" in text


def test_the_model_card_says_that_ability_is_trained_in_part(cards: dict[str, str]) -> None:
    told = cards["model"].split("### Ability")[1].split("| model |")[0]
    assert "**Ability is trained in part:**" in told
    assert "among the general rows of every arm" in told
    assert set(ABILITY_FAMILIES) <= set(GENERAL_FAMILIES)  # were they not, the card would be wrong


def test_a_release_without_levels_has_no_table_of_levels(own: Path) -> None:
    change(own / "report.json", ..., "models", "contrast", "levels")
    change(own / "report.json", ..., "models", "contrast", "categories", "Illegal Activity", "over_refusal")
    text = render(own, own / "cards")["model"].read_text("utf-8")
    assert "### By level" not in text
    assert "| Illegal Activity | hard | 2.5 % (1/40; 0.4–12.9) | – | 92.5 % (37/40; 80.1–97.4) |" in text


@pytest.mark.parametrize("file", ["report.json", "MIS/MANIFEST.json", "base.meta.json", "arms/contrast.meta.json"])
def test_a_missing_file_is_named(own: Path, file: str) -> None:
    (own / file).unlink()
    with pytest.raises(CardError, match=file.split("/")[-1].removesuffix(".meta.json") + ": no "):
        render(own, own / "cards")


def test_a_dataset_that_was_rebuilt_after_the_report_is_refused(own: Path) -> None:
    change(own / "MIS" / "MANIFEST.json", "2-a", "data_version")
    with pytest.raises(CardError, match=r"MANIFEST\.json: is no longer what the rates of report"):
        render(own, own / "cards")


def test_an_arm_that_was_trained_again_after_the_report_is_refused(own: Path) -> None:
    name = "arms/contrast/model/model.safetensors"
    change(own / "report.json", hashlib.sha256(b"weights").hexdigest(), "hashes", name)
    with pytest.raises(CardError, match=r"model\.safetensors: missing, but the rates"):
        render(own, own / "cards")
    (own / name).write_bytes(b"weights")
    render(own, own / "cards")
    (own / name).write_bytes(b"others")
    with pytest.raises(CardError, match=r"model\.safetensors: is no longer what the rates"):
        render(own, own / "cards")


@pytest.mark.parametrize(
    ("name", "folder"), [("arms/contrast/model/config.json", "arms/contrast/"), ("MIS/MANIFEST.json", "MIS/")]
)
def test_a_report_that_names_no_file_of_what_it_rates_is_refused(name: str, folder: str, own: Path) -> None:
    change(own / "report.json", ..., "hashes", name)
    with pytest.raises(CardError, match=f"hashes names no file of {folder}, so no rate is of it"):
        render(own, own / "cards")
    assert not (own / "cards").exists()


def test_a_base_that_names_no_language_model_is_an_error(own: Path) -> None:
    change(own / "base.meta.json", ..., "settings", "language_model")
    with pytest.raises(CardError, match=r"base\.meta\.json: settings\.language_model is missing"):
        render(own, own / "cards")


def test_what_comes_from_a_file_cannot_break_a_table(own: Path) -> None:
    change(own / "report.json", "a | b\n<b>c", "settings", "judge", "judge")
    change(own / "report.json", "0" * 64, "hashes", "eval/<script>alert(1)<b>|.jsonl")
    texts = {name: path.read_text("utf-8") for name, path in render(own, own / "cards").items()}
    assert "| `judge.judge` | a \\| b &lt;b>c |" in texts["dataset"]
    assert "| `eval/&lt;script>alert(1)&lt;b>\\|.jsonl` |" in texts["model"]
    assert not any(tag in text for tag in ("<script", "<b>") for text in texts.values())


@pytest.mark.parametrize("name", ['a"b', "<b>", "a\nb", "`"])
def test_a_name_that_would_end_a_line_of_code_is_refused(own: Path, name: str) -> None:
    for names in ({"dataset_id": name}, {"model_id": name}):
        with pytest.raises(CardError, match="is no id on the Hub and no plain name of a folder"):
            render(own, own / "cards", **names)
    assert not (own / "cards").exists()


def read_python(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)


def read_header(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))
