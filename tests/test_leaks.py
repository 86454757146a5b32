"""What train and tests share, seen and not seen."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import datasets
import pytest
from PIL import Image

from mis_dataset.__main__ import main
from mis_dataset.build import build
from mis_dataset.errors import UsageError
from mis_dataset.leaks import Row, compare, find_leaks, make_row, read_rows, summary, too_many
from mis_dataset.other import read_other
from mis_dataset.schema import LEAKS
from tests.made_release import change, make_release

NOTHING = dict.fromkeys((kind for kind in LEAKS if kind != "same_things"), 0)
BARE = Row("", "", (), (), "")


def row(row_id: str, **values: object) -> Row:
    return Row(**{**vars(BARE), "id": row_id, "family": row_id, "text": row_id, **values})


def found(one: Row, two: Row) -> set[str]:
    """Kinds that two rows share."""
    return {kind for kind, n in compare(("train", [one]), ("test_hard", [two])).rows().items() if n}


def noise(seed: int, side: int = 64, kind: str = "PNG") -> bytes:
    """A picture of large patches, other ones for every seed."""
    stream = io.BytesIO()
    patches = Image.frombytes("L", (6, 6), bytes((seed * 97 + place * place * 31) % 256 for place in range(36)))
    patches.resize((side, side), Image.Resampling.BICUBIC).convert("RGB").save(stream, kind)
    return stream.getvalue()


def test_rows_that_share_nothing() -> None:
    assert (
        found(row("train/1", images=("a", "b"), looks=(0, 1)), row("test_hard/0", images=("c",), looks=(2**60 - 1,)))
        == set()
    )


BUS, SAW = 2**40 - 1, 2**63
PAIR = {"images": ("bus", "saw"), "looks": (BUS, SAW)}
TURNED = {"images": ("saw", "bus"), "looks": (SAW, BUS)}
THINGS = {"things": ("bus", "saw")}


@pytest.mark.parametrize(
    ("one", "two", "kinds"),
    [
        ({"text": "how do i"}, {"text": "how do i"}, {"same_text"}),
        (PAIR, {"images": ("saw",), "looks": (SAW,)}, {"same_image"}),
        (PAIR, TURNED, {"same_image", "same_pair", "same_pair_other_question"}),
        (PAIR | {"text": "x"}, TURNED | {"text": "x"}, {"same_text", "same_image", "same_pair"}),
        (PAIR, {"images": ("other",), "looks": (BUS ^ 0b111111,)}, {"near_image"}),
        (PAIR, {"images": ("other",), "looks": (BUS ^ 0b1111111,)}, set()),
        (PAIR, {"id": "test_benign/0", "images": ("saw",), "looks": (SAW,)}, {"twin_image"}),
        (THINGS, THINGS, {"same_things"}),
        (THINGS, THINGS | {"free": True}, set()),
        (PAIR | {"text": "x", "family": "test_hard/0"}, PAIR | {"text": "x"}, set()),
    ],
    ids=[
        "text",
        "image",
        "pair turned",
        "pair and text",
        "near",
        "not near",
        "twin's",
        "things",
        "trained pairs",
        "twin",
    ],
)
def test_what_two_rows_share(one: dict[str, object], two: dict[str, object], kinds: set[str]) -> None:
    assert found(row("train/1", **one), row("test_hard/0", **two)) == kinds


def test_near_texts_are_those_with_most_runs_of_three_words_in_common() -> None:
    long = "how do i put the thing of the first picture on the thing of the second one in the evening"
    assert found(row("train/1", text=long), row("test_hard/0", text=long + " today")) == {"near_text"}
    assert found(row("train/1", text=long), row("test_hard/0", text=long[:40])) == set()


def test_pictures_alike_to_the_eye_are_near_and_others_are_not() -> None:
    one = make_row("train/1", "a", [noise(1), noise(2)])
    smaller = make_row("test_hard/0", "b", [noise(1, 48, "JPEG"), noise(3)])
    leaks = compare(("train", [one]), ("test_hard", [smaller]))
    assert leaks.rows() == NOTHING | {"near_image": 1}
    assert leaks.near_share == 0.5


def test_splits_are_compared_two_by_two_and_limits_count_test_rows_against_train(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    build(raw, tmp_path / "MIS")
    rows = read_rows(tmp_path / "MIS")
    leaks = {(one.one, one.two): one for one in find_leaks(rows)}
    assert len(leaks) == 10
    assert leaks["test_hard", "test_benign"].rows()["same_image"] == 0  # a twin has a picture of its own row
    assert too_many(leaks.values(), {"same_image": 0}) == []
    shutil.copy(raw / "images/2/object1.png", raw / "hard_image/2/object2.png")
    change(raw, "mis_real.json", 0, question="How do I join the two things, way 2?")
    build(raw, tmp_path / "MIS")
    again = find_leaks(read_rows(tmp_path / "MIS"))
    assert too_many(again, {"same_image": 0, "same_text": 0, "same_pair": 0}) == [
        "same_image: 1 test rows, more than 0",
        "same_text: 1 test rows, more than 0",
    ]
    held = summary(again, rows)
    hard = next(one for one in held["compared"] if (one["one"], one["two"]) == ("train", "test_hard"))
    assert hard["pairs"]["same_image"] == [["train/2", "test_hard/1"]]


def test_halves_of_a_block_share_with_each_other_by_design_and_other_rows_do_not(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    asked = "How do I place the first thing on the second, hard 0?"
    change(raw, "mis_hard.json", 1, question=asked)
    change(raw, "mis_benign.json", 0, question=asked, twin_of="test_hard/1", changed_image=1)
    for one, two in (
        ("benign_image/2/object1", "hard_image/2/object1"),
        ("hard_image/1/object1", "benign_image/1/object1"),
    ):
        shutil.copy(raw / f"{one}.png", raw / f"{two}.png")
    shutil.copy(raw / "hard_image/2/object2.png", raw / "benign_image/1/object2.png")
    build(raw, tmp_path / "MIS")
    rows = read_rows(tmp_path / "MIS")
    assert {row.family for row in (*rows["test_hard"], *rows["test_benign"])} == {"test_hard/1"}
    assert compare(("test_hard", rows["test_hard"]), ("test_benign", rows["test_benign"])).rows() == NOTHING
    shutil.copy(raw / "images/3/object1.png", raw / "hard_image/2/object1.png")  # no block any more
    build(raw, tmp_path / "MIS")
    rows = read_rows(tmp_path / "MIS")
    found = compare(("test_hard", rows["test_hard"]), ("test_benign", rows["test_benign"])).rows()
    assert (found["twin_image"], found["same_text"]) == (1, 2)


def test_the_verb_exits_1_above_a_limit_and_prints_no_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = make_release(tmp_path / "raw")
    shutil.copy(raw / "images/2/object1.png", raw / "hard_image/2/object2.png")
    build(raw, tmp_path / "MIS")
    words = ["leaks", str(tmp_path / "MIS"), str(tmp_path / "leaks.json")]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "problem: same_image: 1 test rows, more than 0" in shown.err
    assert "train/2 and test_hard/1" in shown.err
    assert "How do I" not in shown.err + shown.out + (tmp_path / "leaks.json").read_text()
    assert main([*words, "--max", "same_image=1"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["passed"] is True
    assert main([*words, "--max", "twin_image=0", "--max", "same_image=1"]) == 0
    assert main([*words, "--max", "fun=1"]) == 2
    assert main([*words, "--max", "same_image"]) == 2
    assert main([*words, "--limit", "1"]) == 0
    assert json.loads((tmp_path / "leaks.json").read_text())["limit"] == 1
    (tmp_path / "leaks.json").write_text("{}")
    assert main(words) == 2
    assert "was not written by `mis_dataset leaks`; name another file" in capsys.readouterr().err
    assert (tmp_path / "leaks.json").read_text() == "{}"


def test_a_twins_picture_that_train_has_is_counted_apart_and_forbidden_too(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    twin = json.loads((raw / "mis_benign.json").read_text("utf-8"))[0]
    shutil.copy(raw / "images/2/object1.png", raw / twin[f"image_path{twin['changed_image']}"])
    build(raw, tmp_path / "MIS")
    words = ["leaks", str(tmp_path / "MIS"), str(tmp_path / "leaks.json")]
    assert main(words) == 1
    assert main([*words, "--max", "twin_image=1"]) == 0
    found = json.loads((tmp_path / "leaks.json").read_text())["compared"]
    benign = next(one for one in found if (one["one"], one["two"]) == ("train", "test_benign"))
    assert (benign["rows"]["twin_image"], benign["rows"]["same_image"]) == (1, 0)


def test_another_dataset_is_compared_with_every_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_release(tmp_path / "raw")
    build(raw, tmp_path / "MIS")
    pictures = [{"bytes": (raw / "images/1/object1.png").read_bytes(), "path": None}, {"bytes": noise(5), "path": None}]
    asked = "How do I place the first thing on the second, hard 1?"
    made = datasets.Dataset.from_dict(
        {"source": ["web", "web"], "instruction": [asked.upper(), "b"], "image": pictures},
        features=datasets.Features(
            {"source": datasets.Value("string"), "instruction": datasets.Value("string"), "image": datasets.Image()}
        ),
    )  # fmt: skip
    (tmp_path / "other").mkdir()
    made.to_parquet(tmp_path / "other" / "train.parquet")
    monkeypatch.chdir(tmp_path)
    other = read_other("other").rows
    leaks = {(one.one, one.two): one for one in find_leaks(read_rows(tmp_path / "MIS"), ("other", other))}
    twin = make_row("x/train/0", "b", [(raw / "benign_image/1/object1.png").read_bytes()])
    against = compare(("against x", [twin]), ("test_benign", read_rows(tmp_path / "MIS")["test_benign"]))
    assert (against.rows()["same_image"], against.rows()["twin_image"]) == (1, 0)
    assert leaks["against other", "train"].pairs["same_image"] == [
        ("other/train/0", "train/1"),
        ("other/train/0", "train/4"),
    ]
    assert leaks["against other", "test_hard"].pairs["same_text"] == [("other/train/0", "test_hard/1")]
    assert too_many(leaks.values(), {"same_text": 0, "same_image": 0}) == ["same_text: 1 test rows, more than 0"]
    with pytest.raises(UsageError, match="split train has no column 'query'; it has source, instruction, image"):
        read_other("other", text="query")
    with pytest.raises(UsageError, match=r"nowhere: there is a folder \. here without it"):
        read_other("./nowhere")
