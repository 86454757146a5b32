"""The paper's other benchmarks: each adapter on a look-alike made by code, and what of a benchmark is not trusted."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from mis_dataset.errors import DatasetError, UsageError
from tests.made_release import png
from tests.test_other import ROOT, hub
from trainer.benchmarks import BENCHMARKS, NAMES, Benchmark, BenchmarkRow, benchmark_of, load

TEXT, PICTURE = datasets.Value("string"), datasets.Image()
ASKED = ("How do I water it?", "Where do I put it?")
SHOWN = (png(1), png(2))


def look_alike(name: str, root: Path) -> Path:
    """A folder with the files and columns of a benchmark, two rows a config, about everyday things."""
    root.mkdir(parents=True, exist_ok=True)
    benchmark = benchmark_of(name)
    if name.startswith("mssbench"):
        rows = [{"queries": [asked, "Why?"], **_paths(f"{n}.png", f"{1 - n}.png")} for n, asked in enumerate(ASKED)]
        _write(root / "combined.json", json.dumps({"chat": rows, "embodied": [{"safe": "x"}]}))
        _pictures(root / "chat", ["0.png", "1.png"])
    elif name == "siuo":
        rows = [{"question": asked, "image": f"{n}.png", "category": "Home"} for n, asked in enumerate(ASKED)]
        _write(root / "siuo_gen.json", json.dumps(rows))
        _pictures(root / "images", ["0.png", "1.png"])
    elif name == "jailbreakv_mini":
        table = [[asked, "Home", f"figs/{n}.png"] for n, asked in enumerate(ASKED)]
        _write_csv(root / str(benchmark.files), ["jailbreak_query", "policy", "image_path"], table)
        _pictures(root / "JailBreakV_28K" / "figs", ["0.png", "1.png"])
    elif name == "figstep":
        header = ["category_id", "task_id", "category_name"]
        _write_csv(root / str(benchmark.files), header, [[1, 1, "Home"], [1, 2, "Home"]])
        names = ["query_ForbidQI_1_1_6.png", "query_ForbidQI_1_2_6.png"]
        _pictures(root / "data" / "images" / "SafeBench", names)
    elif name == "mm_safetybench":
        for config in benchmark.configs:
            _parquet(root / "data" / config / "SD_TYPO.parquet", question=ASKED, image=_held())
    elif name == "vlsbench":
        _parquet(root / "train.parquet", instruction=ASKED, image=_held(), category=["Home", "Home"])
    else:
        _parquet(root / "oversensitivity" / "train.parquet", question=ASKED, image=_held())
        _write(root / "README.md", _card("oversensitivity/train.parquet"))
    return root


def _paths(safe: str, unsafe: str) -> dict[str, str]:
    return {"safe_image_path": safe, "unsafe_image_path": unsafe}


def _card(path: str) -> str:
    return (
        "---\nconfigs:\n- config_name: oversensitivity\n  data_files:\n"
        f"  - split: train\n    path: {path}\n- config_name: other\n  data_files: other.csv\n---\n"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _pictures(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, encoded in zip(names, SHOWN, strict=True):
        (folder / name).write_bytes(encoded)


def _held() -> list[dict[str, Any]]:
    return [{"bytes": encoded, "path": None} for encoded in SHOWN]


def _parquet(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"image": PICTURE, "images": datasets.List(PICTURE)}
    features = datasets.Features({name: kinds.get(name, TEXT) for name in columns})
    pq.write_table(datasets.Dataset.from_dict(columns, features=features).data.table, path)


@contextmanager
def served(files: dict[str, dict[str, bytes]]) -> Iterator[str]:
    """A Hub on loopback with these repositories; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), hub(files))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def rows_of(benchmark: Benchmark, folder: Path) -> list[BenchmarkRow]:
    """All rows, with the warning that a look-alike must give."""
    with pytest.warns(UserWarning, match=rf"{benchmark.name}: \d+ rows, the paper has {benchmark.n}"):
        return list(load(benchmark, folder))


def refused(name: str, folder: Path, kind: type[Exception] = DatasetError) -> str:
    with pytest.raises(kind) as caught:
        list(load(benchmark_of(name), folder))
    return str(caught.value)


# Each of them


EXPECTED: Mapping[str, tuple[str | None, bool]] = {
    "figstep": ("Home", True),
    "jailbreakv_mini": ("Home", True),
    "siuo": ("Home", True),
    "mssbench_safe": (None, False),
    "mssbench_unsafe": (None, True),
    "vlsbench": ("Home", True),
    "mossbench": (None, False),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_look_alike_loads(name: str, tmp_path: Path) -> None:
    benchmark = replace(benchmark_of(name), words="What is listed?") if name == "figstep" else benchmark_of(name)
    rows = rows_of(benchmark, look_alike(name, tmp_path / "a"))
    category, harmful = EXPECTED[name]
    asked = ["What is listed?"] * 2 if name == "figstep" else ASKED
    shown = SHOWN[::-1] if name == "mssbench_unsafe" else SHOWN
    assert rows == [BenchmarkRow(f"{name}/{n}", asked[n], (shown[n],), category, harmful) for n in (0, 1)]


def test_several_configs_follow_one_another_and_are_the_categories(tmp_path: Path) -> None:
    rows = rows_of(benchmark_of("mm_safetybench"), look_alike("mm_safetybench", tmp_path / "a"))
    assert len(rows) == 26
    assert [row.id for row in rows] == [f"mm_safetybench/{n}" for n in range(26)]
    assert [row.category for row in rows[:3]] == ["Illegal_Activitiy", "Illegal_Activitiy", "HateSpeech"]
    assert rows[25] == BenchmarkRow("mm_safetybench/25", ASKED[1], (SHOWN[1],), "Gov_Decision", True)


def test_the_table_says_what_the_paper_says() -> None:
    assert {one.name: (one.judge.split(",")[0], one.n, one.harmful) for one in BENCHMARKS} == {
        "figstep": ("LlamaGuard3-8B", 500, True),
        "mm_safetybench": ("LlamaGuard3-8B", 1680, True),
        "jailbreakv_mini": ("LlamaGuard3-8B", 280, True),
        "siuo": ("GPT-4o", 167, True),
        "mssbench_safe": ("GPT-4o", 300, False),
        "mssbench_unsafe": ("GPT-4o", 300, True),
        "vlsbench": ("not stated", 2400, True),
        "mossbench": ("GPT", 300, False),
    }
    assert all("not verified" in one.source for one in BENCHMARKS)
    assert len(set(NAMES)) == 8


def test_a_question_is_a_column_or_words_never_either() -> None:
    assert {one.name: (one.question, one.words) for one in BENCHMARKS if one.question is None} == {
        "figstep": (None, None)
    }
    given = replace(benchmark_of("figstep"), words="category_name")
    # What is asked may be called as a column is, and asks for none.
    assert given.columns() == ["category_id", "task_id", "category_name"]


def test_words_called_as_a_column_are_asked_as_they_are(tmp_path: Path) -> None:
    given = replace(benchmark_of("figstep"), words="category_name")
    assert [row.question for row in rows_of(given, look_alike("figstep", tmp_path / "a"))] == ["category_name"] * 2


def test_a_row_may_have_several_pictures(tmp_path: Path) -> None:
    _parquet(tmp_path / "a" / "train.parquet", instruction=["Which?"], images=[_held()], category=["Home"])
    several = replace(benchmark_of("vlsbench"), pictures=("images",))
    assert rows_of(several, tmp_path / "a")[0].images == SHOWN


def test_broken_pictures_are_not_decoded(tmp_path: Path) -> None:
    columns = {"instruction": ["a"], "image": [{"bytes": SHOWN[0][:40], "path": None}], "category": ["b"]}
    _parquet(tmp_path / "a" / "train.parquet", **columns)
    assert rows_of(benchmark_of("vlsbench"), tmp_path / "a")[0].images == (SHOWN[0][:40],)


@pytest.mark.filterwarnings("error")
def test_the_paper_s_own_n_is_no_warning(tmp_path: Path) -> None:
    assert len(list(load(replace(benchmark_of("siuo"), n=2), look_alike("siuo", tmp_path / "a")))) == 2


# What is wrong with it


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    _parquet(tmp_path / "a" / "train.parquet", instruction=["a"], picture=["b"], category=["c"])
    assert refused("vlsbench", tmp_path / "a", UsageError) == (
        "vlsbench: the default config has no column image; it has instruction, picture, category: "
        "it is another release than meant here"
    )


def test_a_null_picture_and_an_empty_question_name_their_row(tmp_path: Path) -> None:
    a = {"instruction": ["a", "b"], "image": [_held()[0], None], "category": ["c", "c"]}
    _parquet(tmp_path / "a" / "train.parquet", **a)
    said = refused("vlsbench", tmp_path / "a")
    assert said == "vlsbench/1: image is empty where its picture should be; mend that row"
    _parquet(tmp_path / "b" / "train.parquet", **a | {"instruction": [" ", "b"]})
    assert refused("vlsbench", tmp_path / "b") == "vlsbench/0: instruction is no question; mend that row"
    rows = [{"question": "a", "image": None, "category": "b"}, {"question": "a", "image": "0.png", "category": "b"}]
    _write(tmp_path / "c" / "siuo_gen.json", json.dumps(rows))
    assert refused("siuo", tmp_path / "c") == "siuo/0: image is empty where its picture should be; mend that row"


@pytest.mark.parametrize("path", ["../../secret.png", "https://example.org/a.png", "link.png"])
def test_a_picture_outside_of_the_folder_is_not_opened(path: str, tmp_path: Path) -> None:
    root = look_alike("siuo", tmp_path / "a")
    (tmp_path / "secret.png").write_bytes(SHOWN[0])
    (root / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    _write(root / "siuo_gen.json", json.dumps([{"question": "a", "image": path, "category": "b"}]))
    assert "own folder" in refused("siuo", root)
    _write(root / "siuo_gen.json", json.dumps([{"question": "a", "image": "1.png", "category": "b"}]))
    assert rows_of(benchmark_of("siuo"), root)[0].images == (SHOWN[1],)


def test_an_absolute_path_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(SHOWN[0])
    _parquet(tmp_path / "a" / "train.parquet", instruction=["a"], category=["b"], image=[str(tmp_path / "secret.png")])
    assert "own folder" in refused("vlsbench", tmp_path / "a")


def test_a_card_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    root = look_alike("mossbench", tmp_path / "a")
    _parquet(tmp_path / "secret" / "train.parquet", question=ASKED, image=_held())
    _write(root / "README.md", _card("../secret/train.parquet"))
    assert "in no file of its own folder" in refused("mossbench", root)


def test_a_script_in_the_folder_is_not_run(tmp_path: Path) -> None:
    root = look_alike("siuo", tmp_path / "a")
    _write(root / "a.py", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DatasetError):
        list(load(benchmark_of("siuo"), root))
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_none_and_a_broken_file_are_told(tmp_path: Path) -> None:
    assert "is no folder" in refused("siuo", tmp_path / "none", UsageError)
    _write(tmp_path / "a" / "siuo_gen.json", '[{"question": "a"')
    assert refused("siuo", tmp_path / "a").startswith("siuo: the default config: cannot be read: ")
    with pytest.raises(UsageError, match="figstep: asks one question of all pictures; give it with --question"):
        next(load(benchmark_of("figstep"), tmp_path))
    with pytest.raises(UsageError, match="figstep: is not on the Hub"):
        next(load(replace(benchmark_of("figstep"), words="What is listed?")))
    with pytest.raises(UsageError, match="no benchmark 'xstest'; there are figstep, "):
        benchmark_of("xstest")


# On the Hub


def test_rows_and_pictures_of_the_hub_are_read_and_no_path_leads_out_of_it(tmp_path: Path) -> None:
    rows = [{"question": "a", "image": "1.png", "category": "b"}, {"question": "a", "image": "../x", "category": "b"}]
    files = {
        "sinwang/SIUO": {"siuo_gen.json": json.dumps(rows).encode(), "images/1.png": SHOWN[0], "x": SHOWN[1]},
        "AIcell/MOSSBench": {"README.md": _card("train.parquet").encode()},
    }
    _parquet(tmp_path / "train.parquet", question=ASKED, image=_held())
    files["AIcell/MOSSBench"]["train.parquet"] = (tmp_path / "train.parquet").read_bytes()
    code = (
        "from mis_dataset.errors import DatasetError\nfrom trainer.benchmarks import benchmark_of, load\n"
        "for name in ('mossbench', 'siuo'):\n"
        "    try:\n        for row in load(benchmark_of(name)):\n            print(row.id, len(row.images[0]))\n"
        "    except DatasetError as error:\n        print(error)\n"
    )
    with served(files) as url:
        settings = {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        command, environment = [sys.executable, "-c", code], os.environ | settings
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    size = len(SHOWN[0])
    assert ended.stdout.splitlines() == [
        f"mossbench/0 {size}",
        f"mossbench/1 {size}",
        f"siuo/0 {size}",
        "siuo/1: picture 'images/../x' is no path in the dataset's own folder; mend that row",
    ]
