"""`python -m cards dataset`: from a built release, made here by code, to a card that loads and says what files hold."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cards.__main__ import main
from cards.kinds import KINDS, check_folder, problems_of
from cards.reading import CardError
from cards.released import released
from mis_dataset.__main__ import main as mis_dataset
from mis_dataset.mini.write import write_release
from mis_dataset.verify import verify
from tests.made_built import KEPT, REJECTED, ROWS, make_built, write_card
from tests.made_cards import change
from tests.made_release import make_release

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>alert(1)</script> | a [b](c) # d"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without twins; no test changes it."""
    return make_built(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of six proposed twins two are kept and one is rejected; no test changes it."""
    return make_built(tmp_path_factory.mktemp("kept"), KEPT, REJECTED, KEPT)


@pytest.fixture
def own(plain: Path, tmp_path: Path) -> Path:
    """A copy of `plain` that a test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / "own"))


def test_the_verb_writes_the_card_and_the_plots_and_says_where(kept: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["dataset", str(kept / "MIS"), str(tmp_path / "card"), "--dataset-id", "someone/MIS"]
    command += ["--stats", str(kept / "stats"), "--leaks", str(kept / "leaks.json")]
    assert main(command) == 0
    printed = capsys.readouterr()
    card = tmp_path / "card" / "README.md"
    assert json.loads(printed.out) == {"verb": "dataset", "card": str(card)}
    assert printed.err == ""
    names = ["LICENSE", "NOTICE", "README.md", "eval.yaml", "rows.png", "words.png"]
    assert sorted(path.name for path in card.parent.iterdir()) == names
    for name in ("rows.png", "words.png"):
        assert card.with_name(name).read_bytes() == (kept / "stats" / name).read_bytes()
        assert re.search(rf"^!\[[A-Z][^]]+\]\({name}\)$", card.read_text("utf-8"), re.MULTILINE)
    assert 'load_dataset("someone/MIS")' in card.read_text("utf-8")


def test_a_second_run_writes_nothing_new_and_mends_what_was_changed(kept: Path, tmp_path: Path) -> None:
    def run() -> dict[Path, int]:
        released(kept / "MIS", tmp_path, stats=kept / "stats")
        return {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    first = run()
    assert len(first) == 6
    assert run() == first
    card = tmp_path / "README.md"
    text = card.read_text("utf-8")
    card.write_text(text + "more", encoding="utf-8")
    (tmp_path / "rows.png").write_bytes(b"another plot")
    run()
    assert card.read_text("utf-8") == text
    assert (tmp_path / "rows.png").read_bytes() == (kept / "stats" / "rows.png").read_bytes()


def test_a_card_beside_the_data_makes_a_folder_that_can_be_pushed(own: Path) -> None:
    lacking = [f"{name} is missing" for name in ("README.md", "LICENSE", "NOTICE")]
    assert problems_of(own / "MIS", KINDS["dataset"])[:3] == lacking
    released(own / "MIS", own / "MIS", "someone/MIS", own / "stats", own / "leaks.json", "someone")
    assert check_folder(own / "MIS", KINDS["dataset"])
    assert verify(own / "MIS") == []
    notice = (own / "MIS" / "NOTICE").read_text("utf-8")
    for told in ("Yi Ding, Lijun Li, Bing Cao and Jing Shao", "Stable Diffusion 3.5 Large", "were not cleared"):
        assert told in notice
    assert not any(name in notice for name in ("Twemoji", "OpenMoji", "SmolLM2"))


def test_the_card_loads_the_metrics_from_where_they_are_published(plain: Path, tmp_path: Path) -> None:
    here, there = (
        released(plain / "MIS", tmp_path / metrics, metrics=metrics)["card"].read_text("utf-8")
        for metrics in ("cards", "someone")
    )
    assert 'evaluate.load("cards/pair_accuracy")' in here
    assert "`cards/attack_success_rate`, in the checkout of the code" in here
    assert 'evaluate.load("someone/pair_accuracy")' in there
    assert "checkout of the code that built" not in there


def test_the_verb_imports_neither_trainer_nor_torch(plain: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from cards.__main__ import main\n"
        f"assert main(['dataset', {str(plain / 'MIS')!r}, {str(tmp_path)!r}]) == 0\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ended.stderr.split()) & {"trainer", "torch", "transformers", "datasets"} == set()


def test_the_dataset_loads_with_its_card_and_plots_beside_it(kept: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    write_card(kept)
    shutil.copytree(kept / "MIS", tmp_path / "MIS")
    shutil.copytree(kept / "card", tmp_path / "MIS", dirs_exist_ok=True)
    loaded = load_dataset(str(tmp_path / "MIS"), cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].num_rows for split in loaded} == ROWS | {"test_benign": 2}
    assert loaded["test_hard"][0]["images"][0].size == (8, 8)
    assert loaded["test_benign"]["id"][:] == ["test_benign/0", "test_benign/2"]


def test_a_config_of_smaller_pictures_loads_by_its_name_and_says_that_it_is_one(tmp_path: Path) -> None:
    from datasets import load_dataset

    raw = make_release(tmp_path / "raw", twins=False)
    assert mis_dataset(["build", str(raw), str(tmp_path / "MIS"), "--image-max-side", "4"]) == 0
    card = released(tmp_path / "MIS", tmp_path / "card")["card"]
    shutil.copy(card, tmp_path / "MIS" / "README.md")
    loaded = load_dataset(str(tmp_path / "MIS"), "max4", cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].num_rows for split in loaded} == ROWS
    assert loaded["test_hard"][0]["images"][0].size == (4, 4)
    text = card.read_text("utf-8")
    assert 'mis = load_dataset("MIS", "max4")' in text
    assert "**made smaller**, to at most 4 pixels a side: their bytes are not those of the release." in text
    assert "byte for byte as released" not in text
    assert "pictures left byte for byte" not in text


def test_every_number_of_the_splits_is_that_of_the_files(kept: Path) -> None:
    text = write_card(kept)
    sizes = {split: sum(path.stat().st_size for path in kept.glob(f"MIS/data/{split}-*.parquet")) for split in ROWS}
    for split, rows in ROWS.items():
        responses = rows if split == "train" else 0
        assert f"| `{split}` | {rows} | 0 | {responses} | {sizes[split] / 1e6:.2f} MB |" in text
    assert "| `test_benign` | 2 | 2 | 0 | 0.0" in text
    for name, counts in (("Violent", "3 | 0 | 0 | 0 | 0"), ("Illegal Activity", "0 | 2 | 2 | 0 | 2")):
        assert f"| {name} | {counts} |" in text
    for name, counts in (("Weapon-Related Violence", "3 | 0 | 0 | 0 | 0"), ("Cybercrimes", "0 | 2 | 2 | 0 | 2")):
        assert f"| {name} | {counts} |" in text
    assert text.count("| (none) | 0 | 0 | 0 | 2 | 0 |") == 2
    assert "Illegal Activity holds 100.0 % of the rows of easy and hard" in text


def test_what_stats_and_leaks_found_stands_in_the_card(kept: Path) -> None:
    text = write_card(kept)
    assert "| `train` | 9 to 9, median 9 | 12 to 12, median 12 | 6 | 8 x 8 | PNG |" in text
    assert "| a picture, byte for byte | 0 | 0 | 0 | 0 | 0 |\n" in text  # within each split
    assert "| a picture, byte for byte | 0 | 0 | 0 | 0 |\n" in text  # of train
    assert "| a benign twin's picture, byte for byte | 0 | 0 | 0 | 2 |\n" in text
    leaks = json.loads((kept / "leaks.json").read_text("utf-8"))
    alike = {one["two"]: one["rows"]["near_image"] for one in leaks["compared"] if one["one"] == "train"}
    assert f"| a picture that looks alike | {' | '.join(map(str, alike.values()))} |\n" in text
    assert "No picture of a test is one of train." not in text


def test_what_was_not_measured_is_not_told(plain: Path, kept: Path, tmp_path: Path) -> None:
    for folder in (plain, kept):
        text = released(folder / "MIS", tmp_path / folder.name)["card"].read_text("utf-8")
        assert "### Texts and pictures" not in text
        assert "Not counted for this card; `python -m mis_dataset leaks` does." in text
        assert "![" not in text
        assert "byte for byte |" not in text
        names = ["LICENSE", "NOTICE", "README.md", "eval.yaml"]
        assert sorted(path.name for path in (tmp_path / folder.name).iterdir()) == names
    assert "In how many rows it is was not counted for this card." in text
    assert "No picture of a test is one of train." in write_card(plain)


def test_without_twins_the_card_says_so_and_what_rates_then_cannot_tell(plain: Path) -> None:
    text = write_card(plain)
    told = section(text, "Benign twins")
    assert "**The tests have none:** the authors released none." in told
    assert "cannot tell a model that reasons about the pictures from one that refuses whatever it is asked" in told
    assert "`python -m mis_dataset twins` proposes twins" in told
    assert "| proposed |" not in text
    assert "test_benign" not in text
    assert "the tests of this build have none" in section(text, "Evaluation")
    assert "Without twins nothing here shows over-refusal" in section(text, "Bias, risks and limits")


def test_proposed_twins_of_which_none_was_kept_are_counted(tmp_path: Path) -> None:
    told = section(write_card(make_built(tmp_path / "open", propose=True)), "Benign twins")
    assert "**The tests have none:** the authors released none, and of those proposed since none was kept." in told
    assert "| 6 | 0 | 0 | 6 | nobody yet |" in told
    told = section(write_card(make_built(tmp_path / "rejected", REJECTED)), "Benign twins")
    assert "| 6 | 0 | 1 | 5 | B. Second |" in told
    assert "test_benign" not in told


def test_kept_twins_are_told_with_their_reviewers_and_pictures_of_train(kept: Path) -> None:
    text = write_card(kept)
    told = section(text, "Benign twins")
    assert "The tests have none" not in told
    assert "| proposed | kept | rejected | not yet decided | reviewers |" in told
    assert "| 6 | 2 | 1 | 3 | A. N. Other, B. Second |" in told
    assert "The rule proposes, a person decides" in told
    assert "In 2 of the 2 rows of `test_benign` a picture is one of a train row, byte for byte." in told
    assert "mis_benign.json" not in told
    assert "**Pair accuracy is the headline**" in section(text, "Evaluation")


def test_twins_that_lay_in_the_release_are_told_apart(tmp_path: Path) -> None:
    text = write_card(make_built(tmp_path, KEPT, twins=True))
    told = section(text, "Benign twins")
    assert "2 of the 3 rows of `test_benign` stood in the release as `mis_benign.json`" in told
    assert "`train` has benign twins with a response that helps (rows: 1), from `mis_train_benign.json`" in told
    assert "| 4 | 1 | 0 | 3 | A. N. Other |" in told
    assert "harmless rows of the same form" not in text


def test_a_reviewers_name_and_what_a_manifest_holds_cannot_break_the_card(tmp_path: Path) -> None:
    folder = make_built(tmp_path, ("kept", HOSTILE))
    manifest = folder / "MIS" / "MANIFEST.json"
    change(manifest, {"<b>a|b": "c\n# d"}, "source")
    change(manifest, "1 <i>", "versions", "pillow")
    text = released(folder / "MIS", folder / "card", "someone/MIS")["card"].read_text("utf-8")
    assert "| 6 | 1 | 0 | 5 | &lt;script>alert(1)&lt;/script> \\| a [b]&#40;c) # d |" in text
    assert "| &lt;b>a\\|b | c # d |" in text
    assert "pillow 1 &lt;i>" in text
    assert not re.search(r"<(script|b|i)>", text)
    assert_whole(text)


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a'b", "`", "<i>", ""])
def test_a_name_that_would_end_a_line_of_code_is_refused(plain: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(CardError, match="is no id on the Hub and no plain name of a folder"):
        released(plain / "MIS", tmp_path / "card", name)
    with pytest.raises(CardError, match="is no id on the Hub and no plain name of a folder"):
        released(plain / "MIS", tmp_path / "card", metrics=name)
    assert not (tmp_path / "card").exists()


def test_each_state_of_the_card_has_whole_tables_and_no_gap(plain: Path, kept: Path) -> None:
    for text in (write_card(plain), write_card(kept)):
        assert_whole(text)
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            compile(block, "card", "exec")
        for held in ("2501.18533", "ICLR", "Apache-2.0", "**Sensitive content.**", "python -m mis_dataset verify"):
            assert held in text
        assert "How do I" not in text  # no question of a row


def test_the_card_names_the_build_by_its_manifest(plain: Path, own: Path) -> None:
    text = section(write_card(plain), "This build")
    digest = hashlib.sha256((plain / "MIS" / "MANIFEST.json").read_bytes()).hexdigest()
    assert f"has itself the sha256 `{digest}`." in text
    manifest = json.loads((plain / "MIS" / "MANIFEST.json").read_text("utf-8"))
    assert f"Dataset version `{manifest['data_version']}`, config `default`." in text
    assert f"pillow {manifest['versions']['pillow']}" in text
    assert f"| pictures | {manifest['inputs']['pictures']} |" in text
    assert "No source commit is recorded" in text
    change(own / "MIS" / "MANIFEST.json", {"Tuwhy/MIS_Test": "c147ae2"}, "source")
    text = released(own / "MIS", own / "card")["card"].read_text("utf-8")
    assert "| Tuwhy/MIS_Test | c147ae2 |" in text
    assert "No source commit is recorded" not in text


def test_a_miniature_is_refused_with_the_verb_that_writes_its_card(tmp_path: Path, capsys: Any) -> None:
    write_release(tmp_path / "raw", 0, False, True)
    assert mis_dataset(["build", str(tmp_path / "raw"), str(tmp_path / "MIS")]) == 0
    assert main(["dataset", str(tmp_path / "MIS"), str(tmp_path / "card")]) == 1
    assert "MIS: is MIS-mini; its card is written by `python -m cards render RUN OUT`" in capsys.readouterr().err
    assert not (tmp_path / "card").exists()


def test_a_trial_is_refused(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    assert mis_dataset(["build", str(raw), str(tmp_path / "MIS"), "--limit", "1"]) == 0
    with pytest.raises(CardError, match=r"MANIFEST\.json: is of a trial"):
        released(tmp_path / "MIS", tmp_path / "card")


@pytest.mark.parametrize("held", ["# Mine\n", "<!-- written by python -m cards render -->\n", "\xff"])
def test_a_card_that_the_verb_did_not_write_is_kept(plain: Path, tmp_path: Path, capsys: Any, held: str) -> None:
    card = tmp_path / "README.md"
    card.write_text(held, encoding="latin-1")
    assert main(["dataset", str(plain / "MIS"), str(tmp_path), "--stats", str(plain / "stats")]) == 1
    assert f"{card}: was not written by `python -m cards dataset`" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert card.read_text("latin-1") == held


def test_a_folder_or_a_picture_of_others_is_kept(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "README.md").mkdir(parents=True)
    with pytest.raises(CardError, match=r"one/README\.md: was not written by"):
        released(plain / "MIS", tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "rows.png").write_bytes(b"holiday")
    with pytest.raises(CardError, match=r"two/rows\.png: was not written by"):
        released(plain / "MIS", tmp_path / "two", stats=plain / "stats")
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["rows.png"]


def test_what_was_found_in_another_dataset_is_refused(plain: Path, kept: Path, tmp_path: Path) -> None:
    for stats, leaks in ((None, kept / "leaks.json"), (kept / "stats", None)):
        with pytest.raises(CardError, match=r"is not of all rows of .*MIS as it is now; run its verb again"):
            released(plain / "MIS", tmp_path / "card", "MIS", stats, leaks)
    with pytest.raises(CardError, match=r"leaks\.json: no such file; run the verb that writes it first"):
        released(plain / "MIS", tmp_path / "card", leaks=tmp_path / "leaks.json")
    shutil.copy(plain / "leaks.json", tmp_path / "stats.json")
    with pytest.raises(CardError, match=r"stats\.json: is not as its verb writes it"):
        released(plain / "MIS", tmp_path / "card", stats=tmp_path)
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("kind", "other", "was not written by `python -m mis_dataset build` as it is now"),
        ("limit", ..., "was not written by `python -m mis_dataset build` as it is now"),
        ("config", "max4/../..", "config is neither default nor max<N>"),
        ("source", {"a": 1}, "source is not an object of texts"),
        ("files", None, "files is not an object of texts"),
        ("reviews", ..., "reviews is not as `build` writes it"),
        ("reviews", {"kept": 1}, "reviews is not as `build` writes it"),
        ("reviews", {"proposed": 6, "kept": 1, "rejected": 0, "reviewers": ["A"]}, "reviews contradicts itself or"),
        ("reviews", {"proposed": 1, "kept": 0, "rejected": 2, "reviewers": ["A"]}, "reviews contradicts itself or"),
        ("reviews", {"proposed": 1, "kept": 0, "rejected": 1, "reviewers": []}, "reviews contradicts itself or"),
        ("rows", {"train": 4}, "build the dataset again"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(own: Path, field: str, value: object, text: str) -> None:
    change(own / "MIS" / "MANIFEST.json", value, field)
    with pytest.raises(CardError, match=r"MANIFEST\.json: ") as caught:
        released(own / "MIS", own / "card")
    assert text in str(caught.value)


def test_a_file_that_is_not_as_it_was_built_is_refused(own: Path) -> None:
    path = next(own.glob("MIS/data/test_hard-*.parquet"))
    held = path.read_bytes()
    path.write_bytes(held.replace(b"way", b"WAY").replace(b"first thing", b"third thing"))
    assert verify(own / "MIS") != []
    with pytest.raises(CardError, match=r"test_hard-.*is not as it was built; `python -m mis_dataset verify"):
        released(own / "MIS", own / "card")
    path.write_bytes(held)
    released(own / "MIS", own / "card")
    name = path.relative_to(own / "MIS").as_posix()
    change(own / "MIS" / "MANIFEST.json", ..., "files", name)
    with pytest.raises(CardError, match=r"test_hard-.*is not as it was built"):
        released(own / "MIS", own / "card")


def section(card: str, head: str) -> str:
    """The text under a heading, up to the next of its kind; line breaks within a paragraph are spaces."""
    text = card.split(f"\n## {head}\n")[1].split("\n## ")[0]
    return re.sub(r"(?<=[^\n|`])\n(?=[^\n|`-])", " ", text)


def assert_whole(card: str) -> None:
    """Tables have as many cells in every line, and nothing of the template is left."""
    tables = re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
        assert set(table.splitlines()[1]) == set("| -"), table
    assert "{{" not in card
    assert "{%" not in card
    assert "None" not in card
    assert "\n\n\n\n" not in card
