"""What the cards read: reports, sidecars and datasets, and what is wrong with them."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from cards import facts, tables
from cards.facts import Rate, Report, flatten, read_dataset, read_sidecars
from cards.reading import CardError
from cards.tables import Line, by_group, by_model, escape, per_cent

GOOD = {"rate": 0.25, "k": 1, "n": 4, "low": 0.05, "high": 0.7}
SIDECAR = {"settings": {"seed": 0}, "inputs": {}, "versions": {}, "git_commit": None, "device": "cpu"}
COLUMNS = ("category", "level", "twin_of", "response")


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


# ---- reports


def test_a_rate_is_read_with_the_unscored_rows_beside_it(tmp_path: Path) -> None:
    report = Report(write(tmp_path / "report.json", {"hard": {"asr": GOOD, "unscored": 3}, "text": GOOD}))
    assert report.rate("hard", "asr") == Rate(0.25, 1, 4, 0.05, 0.7, 3)
    assert report.rate("text").unscored is None
    assert report.names("hard") == ["asr", "unscored"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 25.0}, "rate is 25.0, but 1 of 4 is 0.25"),
        ({"rate": None}, "1 of 4, but not every number"),
        ({"low": True}, "1 of 4, but not every number"),
        ({"high": 0.1}, "does not hold within 0..1"),
        ({"high": 70.0}, "does not hold within 0..1"),
        ({"n": 0}, "a rate over nothing must be null"),
        ({"n": 0, "rate": None, "low": None, "high": None}, "a rate over nothing must be null"),
    ],
)
def test_numbers_that_contradict_each_other_are_an_error(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    report = Report(write(tmp_path / "report.json", {"asr": GOOD | changed}))
    with pytest.raises(CardError, match=rf"report\.json: asr: .*{message}"):
        report.rate("asr")


def test_rates_at_the_edge_and_over_nothing_are_good(tmp_path: Path) -> None:
    edge = {"rate": 1.0, "k": 159, "n": 159, "low": 0.976, "high": 1 - 1e-16}
    nothing = {"rate": None, "k": 0, "n": 0, "low": None, "high": None}
    report = Report(write(tmp_path / "report.json", {"edge": edge, "nothing": nothing}))
    assert report.rate("edge").k == 159
    assert report.rate("nothing").rate is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ('{"models": NaN}', "is no JSON .NaN is not a number"),
        ("[]", "holds a list, expected an object"),
        (None, "no such file"),
    ],
)
def test_a_report_that_is_none_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(CardError, match=rf"report\.json.*{message}"):
        Report(path)


def test_a_report_of_a_version_that_is_not_read_is_named(tmp_path: Path) -> None:
    for version in ("1-a", "1-b", "1-c", "1-d"):
        assert Report(write(tmp_path / "report.json", {"report_version": version})).content
    for wrong in ("2-a", None, ["1-a"]):
        with pytest.raises(CardError, match=r"report_version is .*, these cards read 1-a, 1-b, 1-c, 1-d; run"):
            Report(write(tmp_path / "report.json", {"report_version": wrong}))
    assert Report(write(tmp_path / "report.json", {})).content == {}  # of before versions


def test_a_field_of_another_kind_is_named(tmp_path: Path) -> None:
    report = Report(write(tmp_path / "report.json", {"models": [1]}))
    with pytest.raises(CardError, match="models is a list, expected an object"):
        report.names("models")
    with pytest.raises(CardError, match=r"models\.base is missing"):
        report.at("models", "base")
    with pytest.raises(CardError, match="models is not a rate"):
        report.rate("models")


def test_a_fraction_is_read_and_what_is_none_is_named(tmp_path: Path) -> None:
    report = Report(write(tmp_path / "report.json", {"naming": {"real": 0.75, "trained": 97.5, "all": True}}))
    assert report.fraction("naming", "real") == 0.75
    for style in ("trained", "all"):
        with pytest.raises(CardError, match=rf"report\.json: naming\.{style} is .*, expected a fraction 0\.\.1"):
            report.fraction("naming", style)


# ---- sidecars


def test_sidecars_beside_and_inside_a_models_folder_are_read(tmp_path: Path) -> None:
    write(tmp_path / "arms" / "contrast.meta.json", SIDECAR)
    write(tmp_path / "arms" / "contrast" / "adapter" / "x.meta.json", SIDECAR | {"device": "cuda"})
    write(tmp_path / "arms" / "mirage.meta.json", SIDECAR)
    read = read_sidecars(tmp_path, "arms/contrast")
    assert [(sidecar.path, sidecar.device) for sidecar in read] == [
        ("arms/contrast.meta.json", "cpu"),
        ("arms/contrast/adapter/x.meta.json", "cuda"),
    ]


def test_what_a_model_was_made_from_is_named_as_seen_from_the_run_and_beyond_it_by_its_file(tmp_path: Path) -> None:
    inputs = {"../../MIS/data/a.parquet": "1" * 64, "../../../../checkout/recipe.yaml": "2" * 64}
    write(tmp_path / "arms" / "contrast" / "model.meta.json", SIDECAR | {"inputs": inputs})
    [sidecar] = read_sidecars(tmp_path, "arms/contrast")
    assert sidecar.inputs == {"MIS/data/a.parquet": "1" * 64, "recipe.yaml": "2" * 64}


def test_what_is_no_sidecar_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"base: no \*\.meta\.json beside or inside it"):
        read_sidecars(tmp_path, "base")
    write(tmp_path / "base.meta.json", {"settings": {}, "inputs": {}, "versions": {}, "git_commit": None})
    with pytest.raises(CardError, match=r"base\.meta\.json is not a sidecar \(KeyError\('device'\)\)"):
        read_sidecars(tmp_path, "base")


def test_nested_settings_get_dotted_names() -> None:
    assert flatten({"lora": {"r": 8, "on": []}, "seed": 0}) == {"lora.r": 8, "lora.on": [], "seed": 0}


# ---- datasets


def test_rows_are_counted_over_all_files_of_a_split(tmp_path: Path) -> None:
    row = dict.fromkeys(COLUMNS, "x")
    manifest = write(tmp_path / "MANIFEST.json", {"data_version": "1-a", "rows": {"train": 1, "test_hard": 4}})
    for shard in (0, 1):
        write_parquet(tmp_path / "data" / f"test_hard-0000{shard}-of-00002.parquet", [row, row | {"level": "y"}])
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [row])
    dataset = read_dataset(tmp_path)
    assert [split.name for split in dataset.splits] == ["train", "test_hard"]
    assert (dataset.splits[1].rows, dataset.splits[1].twins) == (4, 4)
    assert dict(dataset.splits[1].levels) == {"x": 2, "y": 2}
    assert dataset.version == "1-a"
    write(manifest, {"data_version": "1-a", "rows": {"train": 2, "test_hard": 4}})
    with pytest.raises(CardError, match=r"counts .*'train': 2.* the Parquet holds .*'train': 1"):
        read_dataset(tmp_path)


def test_a_dataset_that_is_none_or_broken_is_named(tmp_path: Path) -> None:
    manifest = write(tmp_path / "MANIFEST.json", {})
    with pytest.raises(CardError, match=r"MANIFEST\.json: data_version is missing"):
        read_dataset(tmp_path)
    write(manifest, {"data_version": "1-a", "rows": {}})
    with pytest.raises(CardError, match="data: no Parquet"):
        read_dataset(tmp_path)
    path = write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [{"category": "x"}])
    with pytest.raises(CardError, match=r"train-00000-of-00001\.parquet: expected the columns .*'level'"):
        read_dataset(tmp_path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CardError, match=r"train-00000-of-00001\.parquet: cannot be read"):
        read_dataset(tmp_path)
    path.rename(path.with_name("validation-00000-of-00001.parquet"))
    with pytest.raises(CardError, match="validation is none of the splits train, test_easy"):
        read_dataset(tmp_path)


# ---- tables


def test_rates_are_per_cent_in_a_table() -> None:
    assert per_cent(Rate(0.025, 4, 160, 0.0098, 0.0625)) == "2.5 % (4/160; 1.0–6.2)"
    assert per_cent(Rate(0.025, 4, 160, 0.0098, 0.0625, 3)) == "2.5 % (4/160; 1.0–6.2), 3 unscored"
    assert per_cent(Rate(None, 0, 0, None, None, 7)) == "– (0/0), 7 unscored"
    assert per_cent(None) == "–"


def test_a_table_has_a_line_a_model_and_a_dash_where_a_model_has_no_part() -> None:
    half = Rate(0.5, 1, 2, 0.1, 0.9)
    assert by_model([("base", {"easy": half}), ("ours", {"real": half})], "ours").splitlines() == [
        "| model | easy | real |",
        "| --- | --- | --- |",
        "| base | 50.0 % (1/2; 10.0–90.0) | – |",
        "| **ours** | – | 50.0 % (1/2; 10.0–90.0) |",
    ]
    assert by_group("level", []) == ""
    assert by_group("level", [Line(("new", "hard"), (half, None, None))]).endswith(
        "| new | hard | 50.0 % (1/2; 10.0–90.0) | – | – |"
    )


def test_a_cell_holds_no_mark_that_a_table_or_a_page_is_made_of() -> None:
    assert escape("a | b\n<c> & d") == "a \\| b &lt;c> &amp; d"


@pytest.mark.parametrize("module", [facts, tables])
def test_the_examples_run(module: Any) -> None:
    ran = doctest.testmod(module)
    assert ran.failed == 0
    assert ran.attempted > 0
