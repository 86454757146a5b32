"""General rows: any dataset of conversations becomes rows, and what is wrong with a row is said by its id."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mis_dataset.errors import MISError, UsageError
from tests.made_general import make_general, turns
from tests.test_other import ROOT, hub
from trainer.training.general_rows import general_rows
from trainer.training.rows import general_digest, make_dataset


def text(row: dict[str, Any]) -> str:
    """Prompt and completion, pictures as ``[]``."""
    parts = [part for turn in (*row["prompt"], *row["completion"]) for part in turn["content"]]
    return "|".join("[]" if part["type"] == "image" else part["text"] for part in parts)


def colours(row: dict[str, Any]) -> list[Any]:
    return [Image.open(io.BytesIO(one["bytes"])).convert("RGB").getpixel((0, 0)) for one in row["images"]]


RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize("file", ["rows.json", "rows.jsonl"])
def test_a_conversation_with_placeholders_becomes_a_row_with_its_pictures(tmp_path: Path, file: str) -> None:
    asked = {"conversations": turns("<image>\n<image>\nWhat differs?", "The colour."), "id": 3}
    asked["image"] = ["pictures/red.png", "pictures/blue.png"]
    plain = {"conversations": turns("Hello?", "Hello."), "id": "four"}
    shown, said = general_rows(str(make_general(tmp_path / "general", [asked, plain], file)), 2, 0)
    assert (shown["id"], shown["source"], text(shown)) == (
        "general/0",
        "general_picture",
        "[]|\n|[]|\nWhat differs?|The colour.",
    )
    assert [turn["role"] for turn in shown["prompt"]] == ["user"]
    assert colours(shown) == [RED, BLUE]
    assert (said["id"], said["source"], text(said), said["images"]) == (
        "general/1",
        "general_text",
        "Hello?|Hello.",
        [],
    )


def test_of_several_turns_the_last_is_the_completion(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "system", "value": "Be kind."}, *turns("One?", "1", "<image>Two?", "2")]}
    source = str(make_general(tmp_path / "general", [row | {"images": "pictures/red.png"}]))
    (made,) = general_rows(source, 1, 0)
    assert [turn["role"] for turn in made["prompt"]] == ["system", "user", "assistant", "user"]
    assert text(made) == "Be kind.|One?|1|[]|Two?|2"


def test_messages_and_questions_are_read_too(tmp_path: Path) -> None:
    content = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "Red."}]
    rows: list[dict[str, Any]] = [
        {"messages": messages, "images": ["pictures/red.png"]},
        {"question": "Which is which?", "answer": "First red.", "images": ["pictures/red.png", "pictures/blue.png"]},
        {"question": "Say yes.", "response": "Yes."},
    ]
    made = general_rows(str(make_general(tmp_path / "general", rows)), 3, 0)
    assert [text(row) for row in made] == [
        "Look: |[]|what?|Red.",
        "Image-1: |[]|\nImage-2: |[]|\nWhich is which?|First red.",
        "Say yes.|Yes.",
    ]


def test_parquet_with_pictures_inside_is_read_undecoded_and_of_its_train_files_alone(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as Picture

    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "JPEG")
    features = Features({"question": Value("string"), "answer": Value("string"), "image": Picture()})
    for split in ("train", "test"):
        row = {"question": f"Of {split}?", "answer": "Yes.", "image": {"bytes": stream.getvalue(), "path": None}}
        Dataset.from_list([row], features=features).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    (made,) = general_rows(str(tmp_path), 1, 0)
    assert text(made) == "Image-1: |[]|\nOf train?|Yes."
    assert made["images"] == [{"bytes": stream.getvalue(), "path": None}]


def test_the_seed_draws_the_rows_and_ids_say_where_they_stand(tmp_path: Path) -> None:
    source = str(make_general(tmp_path / "general"))
    first, again, other = (general_rows(source, 8, seed) for seed in (0, 0, 1))
    assert first == again
    assert [row["id"] for row in first] != [row["id"] for row in other]
    numbers = [int(row["id"].split("/")[1]) for row in first]
    assert numbers == sorted(set(numbers))
    assert all(f"number {number}?" in text(row) for number, row in zip(numbers, first, strict=True))
    assert general_rows(source, 0, 0) == []


def test_every_row_has_nearly_the_same_chance(tmp_path: Path) -> None:
    source = str(make_general(tmp_path / "general"))
    drawn = [row["id"] for seed in range(200) for row in general_rows(source, 6, seed)]
    counts = [drawn.count(f"general/{number}") for number in range(24)]
    assert min(counts) > 25  # 50 are expected
    assert max(counts) < 80


def test_the_digest_of_what_was_drawn_knows_texts_and_pictures(tmp_path: Path) -> None:
    rows = general_rows(str(make_general(tmp_path / "general")), 8, 0)
    known = general_digest(make_dataset(rows))
    assert known == general_digest(make_dataset(rows))
    others = [[*rows[:-1], rows[-1] | {"id": "general/99"}], rows[:-1]]
    shown = next(place for place, row in enumerate(rows) if row["images"])
    others.append([row | ({"images": rows[shown]["images"][::-1] * 2} if row is rows[shown] else {}) for row in rows])
    assert known not in {general_digest(make_dataset(other)) for other in others}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"conversations": turns("<image><image>Which?", "This.")}, "has 1 pictures and 2 places for them"),
        ({"conversations": turns("Which?", "This.")}, "has 1 pictures and 0 places for them"),
        ({"conversations": turns("<image>Which?", "This.", "And?")}, "does not end with a question and what is said"),
        ({"conversations": turns("Which?", "<image>")}, "what is said is empty, or shows a picture"),
        ({"conversations": turns("<image>Which?", " ")}, "what is said is empty"),
        ({"conversations": [{"from": "robot", "value": "Hm"}]}, "'robot' speaks, known are human, gpt, system"),
        ({"conversations": [{"from": {}, "value": "Hm"}]}, "{} speaks, known are human, gpt, system"),
        ({"conversations": ["Hm"]}, "a turn is no object"),
        ({"messages": [{"role": "user", "content": 5}]}, "a turn is neither a text nor a list of texts and pictures"),
        ({"conversations": turns("<image>Which?", "This."), "image": ["../red.png"]}, "is no file in the dataset's"),
        ({"conversations": turns("<image>Which?", "This."), "image": [7]}, "its pictures are neither paths nor"),
        (
            {"conversations": None, "question": "<image>Which?", "text": "This."},
            "has none of the columns messages, conversations, or",
        ),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_told_by_its_id(tmp_path: Path, row: dict[str, Any], found: str) -> None:
    fine = {"conversations": turns("<image>Which?", "This."), "image": ["pictures/red.png"]}
    source = str(make_general(tmp_path / "general", [fine, fine | row, fine, fine | row]))
    with pytest.raises(MISError) as error:
        general_rows(source, 4, 0)
    assert f"{source}: 2 of 4 rows that were drawn cannot be trained on: general/1: " in str(error.value)
    assert str(error.value).count(found) == 2
    assert "; general/3: " in str(error.value)
    assert "Which?" not in str(error.value)


@pytest.mark.parametrize(
    ("text_", "found"),
    [
        ("[1, 2", "cannot be read as general rows"),
        ("{}", "holds no list of rows"),
        ("[]", "has 0 rows, the recipe draws 1"),
    ],
)
def test_a_file_that_holds_no_rows_is_one_clear_error(tmp_path: Path, text_: str, found: str) -> None:
    (tmp_path / "rows.json").write_text(text_)
    with pytest.raises(MISError, match=found):
        general_rows(str(tmp_path), 1, 0)


@pytest.mark.parametrize("name", ["nowhere", "text", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_name_on_the_hub_is_refused(name: str) -> None:
    said = f"{name}: is neither a folder nor OWNER/NAME of a dataset on the Hub"
    with pytest.raises(UsageError, match=said) as error:
        general_rows(name, 1, 0)
    assert "another, or `general_share: 0.0`, is a line of a file of --override" in str(error.value)


def test_a_slip_in_a_folder_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="runs/slip: there is a folder runs here without it; name one that is there"):
        general_rows("runs/slip", 1, 0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MISError, match="neither Parquet, JSON Lines nor JSON files lie there"):
        general_rows(str(tmp_path), 1, 0)


@pytest.mark.slow
def test_a_dataset_on_the_hub_is_read_like_a_folder(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [{"question": f"Number {number}?", "answer": f"It is {number}."} for number in range(9)]
    Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    folder = general_rows(str(tmp_path), 3, 0)
    held = {"train.parquet": (tmp_path / "train.parquet").read_bytes()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), hub({"o/good": held}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    code = "import json\nfrom trainer.training.general_rows import general_rows\n"
    code += "print(json.dumps(general_rows('o/good', 3, 0)))"
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
    settings |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    command, environment = [sys.executable, "-c", code], os.environ | settings
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    server.shutdown()
    server.server_close()
    assert json.loads(ended.stdout) == folder
