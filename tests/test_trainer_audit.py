"""Verb `audit`: what cannot be in a published table is found, what can be never is, and what is no table is told."""

from __future__ import annotations

import doctest
import itertools
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_counts import WAYS, brought_to, tried
from tests.tiny import attempt
from trainer import audit as verb
from trainer.audit import LARGEST_N, RATES, TableError, TableRow, audit, read_table
from trainer.counts import read_rate

ROOT = Path(__file__).resolve().parents[1]
LEADERBOARD = ROOT / "benchmarks" / "published_leaderboard.csv"
HEADER = "model,split,n,asr,hr,rsr,rr"
GOOD = "A,easy,1675,92.90,0.24,6.69,0.18"

IMPOSSIBLE_CELLS = [
    ("Idefics3-8B", "easy", "hr", "7.77", [(130, "7.76"), (131, "7.82")]),
    ("LLaVA-OV-72B-Chat", "easy", "hr", "0.10", [(1, "0.06"), (2, "0.12")]),
]
TRUNCATED_CELLS = [
    ("Idefics3-8B", "easy", "rsr", "0.65", 11, "0.66"),
    ("Qwen2-VL-7B-Instruct", "hard", "rr", "0.19", 1, "0.20"),
    ("InternVL2.5-8B", "easy", "rr", "4.53", 76, "4.54"),
]
IMPOSSIBLE_ROWS = [
    ("Idefics3-8B", "easy", 1675, "100.54", 1684, 1685),
    ("LLaVA-NeXT-Interleave", "real", 100, "101.00", 101, 101),
    ("LLaVA-OV-72B-Chat", "real", 100, "101.00", 101, 101),
    ("Qwen2-VL-7B-Instruct", "easy", 1675, "100.12", 1677, 1677),
    ("Qwen2-VL-7B-Instruct", "real", 100, "99.00", 99, 99),
    ("Qwen2-VL-72B-Instruct", "real", 100, "111.00", 111, 111),
    ("InternVL2.5-8B", "real", 100, "101.00", 101, 101),
    ("InternVL2.5-78B", "real", 100, "101.00", 101, 101),
    ("GPT-4o", "real", 100, "101.00", 101, 101),
    ("Gemini-1.5-pro", "easy", 1675, "96.18", 1611, 1611),
    ("Gemini-1.5-pro", "real", 100, "101.00", 101, 101),
    ("InternVL2.5-8B + MIRage", "easy", 1675, "99.58", 1668, 1668),
]
"""What the published leaderboard holds that cannot be."""


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    """A CSV of these lines."""
    path = folder / "table.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def audited(*lines: str, folder: Path) -> dict[str, Any]:
    return audit(read_table(table(folder, *lines)))


# The published leaderboard


def named(found: Iterable[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    """Findings without their lines."""
    return [tuple(one[key] for key in ("model", "split", *keys)) for one in found]


def near(one: dict[str, Any]) -> list[tuple[int, str]]:
    return [(found["k"], found["printed"]) for found in one["nearest"]]


def test_the_leaderboard_holds_exactly_these_impossible_cells_and_rows() -> None:
    code, line, errors = attempt("audit", LEADERBOARD)
    found = json.loads(line)
    assert (code, line.count("\n"), found["passed"]) == (1, 1, False)
    assert found["cells"] == {"checked": 180, "impossible": 2, "truncated": 3}
    assert found["rows"] == {"checked": 45, "impossible": 12}
    cells = [{**one, "near": near(one)} for one in found["impossible_cells"]]
    assert named(cells, "column", "printed", "near") == IMPOSSIBLE_CELLS
    assert named(found["truncated_cells"], "column", "printed", "k", "rounded") == TRUNCATED_CELLS
    rows = [{**one, **one["counts_sum"]} for one in found["impossible_rows"]]
    assert named(rows, "n", "printed_sum", "least", "most") == IMPOSSIBLE_ROWS
    assert [one["line"] for one in found["impossible_rows"]] == [11, 19, 22, 23, 25, 28, 31, 34, 37, 38, 40, 44]
    assert len(errors.splitlines()) == 2 + 3 + 12
    assert f"{LEADERBOARD}: line 11: 'Idefics3-8B', 'easy': the rates add up to 100.54, which is 1684 to 168" in errors


@cache
def behind(n: int, ways: tuple[str, ...]) -> dict[str, list[int]]:
    """Every rate printed with two decimals -> the counts behind it, by trying all."""
    return tried(n, 2, ways)


def two_nearest(printed: str, n: int) -> list[int]:
    """The counts whose rates lie nearest, by trying all."""
    return sorted(sorted(range(n + 1), key=lambda k: abs(Fraction(100 * k, n) - Fraction(printed)))[:2])


def test_trying_every_count_finds_the_same_in_the_leaderboard() -> None:
    impossible, truncated, rows = [], [], []
    counts = {(one["model"], one["split"]): one for one in audit(read_table(LEADERBOARD))["counts"]}
    for text in LEADERBOARD.read_text("utf-8").splitlines()[1:]:
        model, split, size, *rates = text.split(",")
        n = int(size)
        choices = []
        for column, printed in zip(RATES, rates, strict=True):
            found = behind(n, WAYS).get(printed, [])
            assert counts[model, split][column]["k"] == found
            if not found:
                pairs = [(k, brought_to(k, n, 2, "ROUND_HALF_UP")) for k in two_nearest(printed, n)]
                impossible.append((model, split, column, printed, pairs))
            elif printed not in behind(n, WAYS[:-1]):
                truncated.append((model, split, column, printed, *found, brought_to(found[0], n, 2, "ROUND_HALF_UP")))
            choices.append(found or two_nearest(printed, n))
        reached = {sum(chosen) for chosen in itertools.product(*choices)}
        if n not in reached:
            rows.append((model, split, n, str(sum(map(Decimal, rates))), min(reached), max(reached)))
    assert (impossible, truncated, rows) == (IMPOSSIBLE_CELLS, TRUNCATED_CELLS, IMPOSSIBLE_ROWS)


# Tables that were printed from counts


def share_out(n: int, chance: random.Random) -> list[int]:
    """Four counts that add up to `n`; some are none at all."""
    cuts = sorted(chance.choice((0, n, chance.randint(0, n), chance.randint(0, n))) for _ in range(3))
    return [after - before for before, after in itertools.pairwise([0, *cuts, n])]


def printed_row(n: int, counts: Sequence[int], decimals: int, way: Callable[[], str]) -> TableRow:
    """These counts as a table prints them."""
    rates = (read_rate(brought_to(k, n, decimals, way())) for k in counts)
    return TableRow(2, "A", "easy", n, dict(zip(RATES, rates, strict=True)))


def test_a_table_printed_from_counts_is_never_flagged() -> None:
    chance = random.Random(0)
    for _ in range(4000):
        n = chance.choice((chance.randint(1, 300), chance.randint(1, 3000), chance.randint(1, 10**6)))
        counts, decimals, one_way = share_out(n, chance), chance.randint(0, 4), chance.choice(WAYS)
        for way in (lambda one_way=one_way: one_way, lambda: chance.choice(WAYS)):
            found = audit([printed_row(n, counts, decimals, way)])
            assert found["passed"], (n, counts, decimals)
            held = found["counts"][0]
            assert all(held[name]["least"] <= k <= held[name]["most"] for name, k in zip(RATES, counts, strict=True))


def test_a_rounded_table_has_no_truncated_cell_and_a_truncated_one_has() -> None:
    chance = random.Random(1)
    truncated = 0
    for _ in range(1000):
        n = chance.randint(1, 3000)
        counts = share_out(n, chance)
        assert audit([printed_row(n, counts, 2, lambda: "ROUND_HALF_EVEN")])["truncated_cells"] == []
        truncated += audit([printed_row(n, counts, 2, lambda: "ROUND_DOWN")])["cells"]["truncated"]
    assert truncated > 500


def test_one_count_too_many_or_too_few_is_always_seen_where_every_cell_has_one_count() -> None:
    chance = random.Random(2)
    for _ in range(2000):
        # Up to here two neighbouring counts lie further apart than rounding and truncation reach together.
        n = chance.randint(1, 6666)
        counts = share_out(n, chance)
        place = chance.randrange(4)
        counts[place] += 1 if counts[place] == 0 else -1 if counts[place] == n else chance.choice((1, -1))
        found = audit([printed_row(n, counts, 2, lambda: chance.choice(WAYS))])
        assert (found["cells"]["impossible"], found["rows"]) == (0, {"checked": 1, "impossible": 1})
        assert found["impossible_rows"][0]["counts_sum"] == {"least": sum(counts), "most": sum(counts)}


def test_where_a_cell_has_many_counts_the_shift_of_one_cannot_be_seen(tmp_path: Path) -> None:
    found = audited("A,easy,10000,50,25,12,12", folder=tmp_path)
    assert found["passed"]
    assert found["counts"][0]["asr"] == {"least": 4950, "most": 5099, "k": None}


def test_a_cell_that_nothing_explains_leaves_its_row_the_two_nearest_counts(tmp_path: Path) -> None:
    found = audited("A,easy,10,52.00,0.00,50.00,0.00", "A,easy,10,58.00,0.00,30.00,0.00", folder=tmp_path)
    assert found["cells"]["impossible"] == 2
    assert [(one["line"], one["counts_sum"]) for one in found["impossible_rows"]] == [(3, {"least": 8, "most": 9})]


def test_an_empty_cell_may_be_any_count(tmp_path: Path) -> None:
    found = audited("A,easy,10,60.0,,30.0,", "A,easy,10,60.0,50.0,,", "A,easy,10,60.0,,,", ",,10,,,,", folder=tmp_path)
    assert found["rows"] == {"checked": 2, "impossible": 1}
    assert found["cells"]["checked"] == 5
    assert [(one["line"], one["printed_sum"]) for one in found["impossible_rows"]] == [(3, "110.0")]


def test_a_table_in_which_all_is_possible_is_exit_code_0(tmp_path: Path) -> None:
    code, line, errors = attempt("audit", table(tmp_path, GOOD))
    assert (code, errors) == (0, "")
    assert json.loads(line)["passed"] is True


@pytest.mark.parametrize(("row", "cells", "rows"), [("52.00,0,50.00,0", 1, 0), ("60,50,0,0", 0, 1)])
def test_a_cell_alone_or_a_row_alone_that_cannot_be_is_exit_code_1(
    tmp_path: Path, row: str, cells: int, rows: int
) -> None:
    code, line, errors = attempt("audit", table(tmp_path, f"A,easy,10,{row}"))
    found = json.loads(line)
    assert (code, found["cells"]["impossible"], found["rows"]["impossible"]) == (1, cells, rows)
    assert errors.count("line 2: 'A', 'easy': ") == 1


def test_a_truncated_cell_alone_is_exit_code_0_and_told(tmp_path: Path) -> None:
    code, line, errors = attempt("audit", table(tmp_path, "A,hard,510,,,,0.19"))
    assert (code, json.loads(line)["cells"]["truncated"]) == (0, 1)
    assert "rr 0.19 is 1 of 510 only if truncated; rounded it is 0.20" in errors


def test_a_huge_n_takes_no_time_and_no_list(tmp_path: Path) -> None:
    found = audited(f"A,easy,{LARGEST_N},50,50.000000000000000,0.00,0", folder=tmp_path)
    assert found["counts"][0]["asr"] == {"least": 495 * 10**12, "most": 51 * 10**13 - 1, "k": None}
    # Fifteen decimals of a per cent tell all counts of this n apart.
    assert found["counts"][0]["hr"] == {"least": 5 * 10**14, "most": 5 * 10**14, "k": [5 * 10**14]}
    assert found["counts"][0]["rr"]["least"] == 0


# Files as they come


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\r\n{GOOD}\r\n",
        f"{HEADER}\r{GOOD}",
        f"\ufeff{HEADER}\n{GOOD}\n",
        '\ufeff"model","split","n","asr","hr","rsr","rr"\r\n"A","easy","1675","92.90","0.24","6.69","0.18"\r\n',
        f"\n{HEADER}\n\n,,,,,,\n{GOOD}\n\n",
        " Model , Split,N,ASR,HR,RSR,RR\nA, easy ,1675, 92.90,0.24 ,6.69,0.18\n",
        "rr,note,rsr,hr,asr,n,split,model\n0.18,x,6.69,0.24,92.90,1675,easy,A\n",
    ],
)
def test_the_same_table_in_other_clothes_is_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    (row,) = read_table(path)
    assert (row.model, row.split, row.n) == ("A", "easy", 1675)
    assert [row.rates[name].text for name in RATES] == ["92.90", "0.24", "6.69", "0.18"]


def test_a_row_stands_at_the_line_on_which_it_begins(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path, '"A\nB",easy,10,50,,,', "C,easy,10,50,,,"))
    assert [(row.line, row.model) for row in rows] == [(2, "A\nB"), (4, "C")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("A,easy,0,1,1,1,1", "column n: '0' is no whole number from 1 to 1000000000000000; write it in digits"),
        ("A,easy,,1,1,1,1", "column n: '' is no whole number"),
        ("A,easy,1675.0,1,1,1,1", "column n: '1675.0' is no whole number"),
        ('A,easy,"1,675",1,1,1,1', "column n: '1,675' is no whole number"),
        ("A,easy,-5,1,1,1,1", "column n: '-5' is no whole number"),
        ("A,easy," + "9" * 6000 + ",1,1,1,1", "column n: '9999"),
        ("A,easy,1000000000000001,1,1,1,1", "column n: '1000000000000001' is no whole number"),
        ("A,easy,10,NaN,1,1,1", "column asr: 'NaN' is no number such as 7.77; write the rate in per cent, or nothing"),
        ("A,easy,10,1,1e3,1,1", "column hr: '1e3' is no number such as 7.77"),
        ('A,easy,10,1,1,"12,5",1', "column rsr: '12,5' is no number such as 7.77"),
        ("A,easy,10,1,1,12,5,1", "column 8: 8 cells where the header has 7; quote cells that hold commas"),
        ("A,easy,10,1", "column 5: 4 cells where the header has 7"),
        ("A,easy,10,1,1,1,\u22125", r"column rr: '\u22125' is no number such as 7.77"),
        ("A,easy,10,1,1,1,-5", "column rr: '-5' has a sign; rates lie within 0 to 100"),
        ("A,easy,10,1,1,1,100.01", "column rr: '100.01' lies outside 0 to 100"),
        ("A,easy,10,\x00,1,1,1", r"column asr: '\x00' is no number such as 7.77"),
    ],
)
def test_a_row_that_is_none_is_told_with_file_line_and_column(tmp_path: Path, row: str, says: str) -> None:
    path = table(tmp_path, GOOD, row, GOOD)
    code, line, errors = attempt("audit", path)
    assert (code, line) == (2, "")
    assert errors.startswith(f"audit: {path}: line 3, {says}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; give a CSV with the columns model, split, n, asr, hr, rsr, rr"),
        ("\ufeff\r\n", "is empty"),
        (HEADER, "holds no row"),
        (f"{HEADER}\nA,easy,10,,,,\nB,easy,10,,,,\n", "all rates are empty; give at least one"),
        ("model,split,n,asr,hr,rsr\nA,easy,10,1,1,1", "line 1, column rr: is missing; name it in the header"),
        (f"{HEADER},asr\n{GOOD},1", "line 1, column asr: stands there 2 times; keep one"),
        (f"{HEADER},ASR\n{GOOD},1", "line 1, column asr: stands there 2 times; keep one"),
        (HEADER.replace(",", ";"), "line 1, column 'model;split;n;asr;hr;rsr;rr': stands alone; separate columns by"),
        (f'{HEADER}\n{GOOD}\n"A,easy,10,1,1,1,1\n', "line 3 is no CSV (unexpected end of data); see that quotes are"),
        (f'{HEADER}\n"A"B,easy,10,1,1,1,1\n', "line 2 is no CSV"),
        (f"{HEADER}\n{'A' * 200000},easy,10,1,1,1,1\n", "line 2 is no CSV (field larger than field limit"),
    ],
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    code, line, errors = attempt("audit", path)
    assert (code, line) == (2, "")
    assert errors.startswith(f"audit: {path}: {says}")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(HEADER, encoding="utf-16")
    for name in ("none.csv", ".", "wide.csv"):
        code, line, errors = attempt("audit", tmp_path / name)
        assert (code, line) == (2, "")
        assert errors.startswith(f"audit: {tmp_path / name}: cannot be read (")
        assert errors.endswith("; give a CSV file in UTF-8\n")


@pytest.mark.parametrize("name", ["/dev/zero", "pipe.csv"])
def test_what_never_ends_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "pipe.csv":
        os.mkfifo(path)
    # A process of its own, so that one that reads on fails here and does not take the tests with it.
    words = [sys.executable, "-m", "trainer", "audit", str(path)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=_bounded)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"audit: {path}: is a pipe or a device; save it to a file and give that\n"


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))


def test_a_file_that_is_larger_than_any_table_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD)
    os.truncate(path, 16 * 10**6)
    with pytest.raises(TableError, match=r"line 3"):  # read, and no table
        read_table(path)
    os.truncate(path, 16 * 10**6 + 1)
    with pytest.raises(TableError, match="has 16000001 bytes, more than the 16 MB of any table") as error:
        read_table(path)
    assert len(error.value.problems) == 1


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = table(tmp_path, "A,easy,x,1e3,1,-1,1", GOOD, "A,easy,10")
    with pytest.raises(TableError) as error:
        read_table(path)
    assert [one.partition(" is ")[0].partition(" has ")[0] for one in error.value.problems] == [
        f"{path}: line 2, column n: 'x'",
        f"{path}: line 2, column asr: '1e3'",
        f"{path}: line 2, column rsr: '-1'",
        f"{path}: line 4, column 4: 3 cells where the header",
    ]


def test_of_very_many_problems_the_first_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    _, _, errors = attempt("audit", table(tmp_path, *["A,easy,x,1,1,1,1"] * 250))
    assert errors.count("column n: 'x'") == 100
    assert errors.endswith("... and 150 more\n")


WILD = st.text(alphabet='0123456789.,;"\n\r\t -+eE%NaN\u2212\u0663\x00\ufeff', max_size=40) | st.text(max_size=20)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(cells=st.lists(WILD | st.sampled_from(["10", "50.0", "0"]), min_size=5, max_size=8), raw=st.binary(max_size=40))
def test_wild_cells_and_bytes_are_a_table_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("wild") / "table.csv"
    for content in (f"{HEADER}\nA,easy,{','.join(cells)}\n".encode(), HEADER.encode() + raw, raw):
        path.write_bytes(content)
        code, line, errors = attempt("audit", path)
        assert (code in (0, 1)) == bool(line)
        assert code in (0, 1) or (code == 2 and errors.startswith(f"audit: {path}: "))


def test_the_example_of_its_docstring_runs() -> None:
    ran = doctest.testmod(verb)
    assert (ran.attempted, ran.failed) == (2, 0)
