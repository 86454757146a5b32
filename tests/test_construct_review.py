"""The sheet that people fill in, and how it is read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.construct.review import Line, read_reviews, seen, write_sheet
from mis_dataset.construct.rows import Judged, Verdict, to_line
from mis_dataset.errors import MISError, UsageError
from tests.made_pictured import judged, make_pictured

HEAD = "id,seen,verdict,reason,reviewer\n"


@pytest.fixture
def rows(tmp_path: Path) -> list[Judged]:
    """Hard, train, rejected by an expert, and hard with a question that a spreadsheet would run."""
    things = ["a candle", "a log"]
    acts = make_pictured(tmp_path, "s4.1", things, '=HYPERLINK("first","second")')
    made = [make_pictured(tmp_path, f"s{number}.1", things) for number in (1, 2, 3)]
    return [judged(made[0]), judged(made[1], "unsafe words"), judged(made[2], other="risky twin"), judged(acts)]


@pytest.fixture
def file(tmp_path: Path, rows: list[Judged]) -> Path:
    (tmp_path / "duplicates.jsonl").write_text("".join(map(to_line, rows)))
    return tmp_path / "duplicates.jsonl"


def filled(sheet: Path, decide: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Fills in a sheet as a spreadsheet would."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        lines = [line | decide(line) for line in csv.DictReader(file)]
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(lines)


def test_a_sheet_has_the_rows_that_experts_keep(tmp_path: Path, file: Path, rows: list[Judged]) -> None:
    assert write_sheet(file, tmp_path / "review.csv") == {"rows": 3, "decided": 0, "rejected": 0}
    with (tmp_path / "review.csv").open(encoding="utf-8-sig", newline="") as sheet:
        lines = list(csv.DictReader(sheet))
    assert [(line["id"], line["place"]) for line in lines] == [
        ("s1.1", "test_hard"),
        ("s2.1", "train"),
        ("s4.1", "test_hard"),
    ]
    assert lines[0]["pictures"] == "s1.1-0.png s1.1-1.png"
    assert (lines[0]["twin"], lines[0]["seen"]) == ("s1.1-2.png", seen(rows[0].row))
    assert (lines[0]["verdict"], lines[0]["reviewer"]) == ("", "")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_decisions_are_read_back_and_stay_when_the_sheet_is_written_anew(
    tmp_path: Path, file: Path, rows: list[Judged], ending: str
) -> None:
    sheet = tmp_path / f"review.{ending}"
    write_sheet(file, sheet)
    no = {"verdict": "reject", "reason": "=1+1", "reviewer": "A. N. Other"}
    if ending == "csv":
        filled(sheet, lambda line: no if line["id"] == "s2.1" else {})
    else:
        lines = [json.loads(line) for line in sheet.read_text().splitlines()]
        sheet.write_text("".join(json.dumps(line | no if line["id"] == "s2.1" else line) + "\n" for line in lines))
    wanted = {"s2.1": Line(3 if ending == "csv" else 2, seen(rows[1].row), "reject", "=1+1", "A. N. Other")}
    assert read_reviews(sheet).lines == wanted
    told = Judged(rows[1].row, rows[1].sub_category, (*rows[1].verdicts, Verdict("review", "rejected by a person")))
    file.write_text("".join(map(to_line, [rows[0], told, *rows[2:]])))
    assert write_sheet(file, sheet) == {"rows": 3, "decided": 1, "rejected": 1}
    assert read_reviews(sheet).lines == wanted


def test_no_cell_of_a_sheet_is_a_formula(tmp_path: Path, file: Path) -> None:
    write_sheet(file, tmp_path / "review.csv")
    with (tmp_path / "review.csv").open(encoding="utf-8-sig", newline="") as sheet:
        cells = [cell for line in csv.reader(sheet) for cell in line]
    assert '\'=HYPERLINK("first","second")' in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("id,verdict\n", "line 1: has no column seen; fill in the sheet"),
        (HEAD + "s1.1,x0,keep,,A\ns1.1,x0,,,\n", "line 3: s1.1 stands in line 2 already; drop one"),
        (HEAD + "\ns1.1,x0,maybe,,A\n", "line 3: the verdict of s1.1 is neither keep nor reject"),
        (HEAD + "s1.1,x0,keep,,\n", "line 2: s1.1 is decided by nobody; write a reviewer's name"),
        (HEAD + "s1.1,x0,reject, ,A\n", "line 2: s1.1 is rejected without a reason"),
        (HEAD + "s1.1,x0,reject\n", "line 2: has no texts id, seen, verdict, reason, reviewer"),
        (HEAD + ",x0,keep,,A\n", "line 2: has no id"),
        (HEAD + f"s1.1,x0,reject,{'r' * 501},A\n", "line 2: reason has more than 500 letters"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(UsageError) as refused:
        read_reviews(tmp_path / "review.csv")
    assert fault in str(refused.value)


@pytest.mark.parametrize("line", ["[]", "{", "NaN", '{"id": "s1.1"}', '{"id": 1, "seen": "", "verdict": ""}'])
def test_a_line_of_json_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "review.jsonl").write_text("\n" + line)
    with pytest.raises(UsageError, match="line 2: has no texts"):
        read_reviews(tmp_path / "review.jsonl")


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_bytes((HEAD + "s1.1,x0,keep,,J\u00fcrgen\n").encode("latin-1"))
    with pytest.raises(UsageError, match="is not UTF-8 at byte"):
        read_reviews(tmp_path / "review.csv")


def test_an_unknown_id_is_refused_but_in_a_trial(tmp_path: Path, rows: list[Judged]) -> None:
    (tmp_path / "review.csv").write_text(f"{HEAD}s1.1,{seen(rows[0].row)},keep,,A\ns9.1,x0,keep,,A\n")
    reviews = read_reviews(tmp_path / "review.csv")
    with pytest.raises(MISError, match=r"line 3: no row s9\.1 is there"):
        list(reviews.all_met(rows, whole=True))
    assert list(reviews.all_met(rows, whole=False)) == rows
    assert reviews.verdict(rows[0].row) == Verdict("review", "keep", "A")
    assert reviews.verdict(rows[1].row) is None


def test_a_review_holds_for_what_was_seen(tmp_path: Path, file: Path, rows: list[Judged]) -> None:
    (tmp_path / "review.csv").write_text(f"{HEAD}s1.1,{seen(rows[0].row)},keep,,A\n")
    other = replace(rows[0].row, twin_picture=rows[1].row.twin_picture)
    with pytest.raises(MISError, match=r"line 2: s1\.1 has another question or other pictures since"):
        read_reviews(tmp_path / "review.csv").verdict(other)
    before = (tmp_path / "review.csv").read_bytes()
    file.write_text(to_line(judged(other)))
    with pytest.raises(UsageError, match="1 decisions are about rows that are not there any more"):
        write_sheet(file, tmp_path / "review.csv")
    assert (tmp_path / "review.csv").read_bytes() == before


def test_the_verb_writes_a_sheet(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(file.parent), str(tmp_path / "review.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    assert main(["review", str(file.parent), str(tmp_path / "review.xlsx")]) == 2
    assert "a sheet is .csv or .jsonl" in capsys.readouterr().err
    assert main(["review", str(tmp_path / "nothing"), str(tmp_path / "review.csv")]) == 2
