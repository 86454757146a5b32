"""The paper's other safety benchmarks: where each lies, what its columns mean, and its rows.

Read by the rules of `mis_dataset.other`: no code of a benchmark is run, nothing outside of its folder is opened, no
picture is decoded and no row is printed. A row before and after::

    {"queries": ["How do I water it?", ...], "safe_image_path": "7.jpg", ...}          (MSSBench, combined.json)
    BenchmarkRow("mssbench_safe/0", "How do I water it?", (b"...",), None, harmful=False)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from mis_dataset.errors import DatasetError, UsageError
from mis_dataset.record import shown

if TYPE_CHECKING:
    from mis_dataset.other import Place


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of the paper.

    Attributes:
        name: as in ids and file names; also the split of what `trainer.benchmark` writes.
        hub: repository on the Hub; None where the authors publish none, so that a folder must be named.
        configs: read one after the other, each the category of its rows where no column is; empty: the default one.
        files: the file of rows inside the repository, ``{config}`` in it; None: as the repository's own card says.
        field: key of a JSON file under which its rows stand; None: the file is a list.
        split: as `load_dataset` calls it; a file that is named by itself is always ``"train"``.
        question: column of the question; of a list of questions the first is asked. None: every row asks `words`.
        words: what every row asks, where `question` is None; None until it is given with ``--question``.
        pictures: what holds a row's pictures: columns of pictures, lists or paths, or a path with columns in braces.
        category: column of the category; None: there is none, or the config is it.
        judge: who judged it in the paper.
        n: rows that the paper counts.
        harmful: False where a refusal is the fault: a test of over-refusal.
        source: of the layout above, and how far it could be checked.
    """

    name: str
    hub: str | None
    configs: tuple[str, ...]
    files: str | None
    field: str | None
    split: str
    question: str | None
    words: str | None
    pictures: tuple[str, ...]
    category: str | None
    judge: str
    n: int
    harmful: bool
    source: str

    def columns(self) -> list[str]:
        """Columns that its rows must have, in order."""
        braced = [name for spec in self.pictures for name in _braced(spec)]
        plain = [spec for spec in self.pictures if not _braced(spec)]
        asked = [self.question] if self.question else []
        return [*asked, *braced, *plain, *([self.category] if self.category else [])]


class BenchmarkRow(NamedTuple):
    """One row of a benchmark.

    Attributes:
        id: ``<name>/<number>``, counted from 0 over all configs.
        question: what is asked, without image placeholders.
        images: files of one or more pictures, undecoded.
        category: the benchmark's own; None where it has none.
        harmful: whether helping is the fault; else refusing is.
    """

    id: str
    question: str
    images: tuple[bytes, ...]
    category: str | None
    harmful: bool


_SCENARIOS = (
    *("Illegal_Activitiy", "HateSpeech", "Malware_Generation", "Physical_Harm", "EconomicHarm", "Fraud", "Sex"),
    *("Political_Lobbying", "Privacy_Violence", "Legal_Opinion", "Financial_Advice", "Health_Consultation"),
    "Gov_Decision",
)
"""As the repository spells them."""
_MSSBENCH = (
    "paths and columns: eric-ai-lab/MSSBench, utils/infer_on_data.py; the JSON file beside the folder chat/: third "
    "parties; not verified against the Hub. The authors ask every query of a record; which one the paper asked of its "
    "300 records it does not say: here the first"
)

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="figstep",
        hub=None,
        configs=(),
        files="data/question/safebench.csv",
        field=None,
        split="train",
        question=None,
        words=None,
        pictures=("data/images/SafeBench/query_ForbidQI_{category_id}_{task_id}_6.png",),
        category="category_name",
        judge="LlamaGuard3-8B",
        n=500,
        harmful=True,
        source="columns and paths: CryptoAILab/FigStep on GitHub, told by third parties; not verified against a copy; "
        "the one question that is asked of all pictures stands in that repository",
    ),
    Benchmark(
        name="mm_safetybench",
        hub="PKU-Alignment/MM-SafetyBench",
        configs=_SCENARIOS,
        files="data/{config}/SD_TYPO.parquet",
        field=None,
        split="train",
        question="question",
        words=None,
        pictures=("image",),
        category=None,
        judge="LlamaGuard3-8B",
        n=1680,
        harmful=True,
        source="repository, files and columns: told by third parties that load it; not verified against the Hub",
    ),
    Benchmark(
        name="jailbreakv_mini",
        hub="JailbreakV-28K/JailBreakV-28k",
        configs=(),
        files="JailBreakV_28K/mini_JailBreakV_28K.csv",
        field=None,
        split="train",
        question="jailbreak_query",
        words=None,
        pictures=("JailBreakV_28K/{image_path}",),
        category="policy",
        judge="LlamaGuard3-8B, prompt as JailBreakV has it",
        n=280,
        harmful=True,
        source="repository, file and columns: told by third parties that load it; not verified against the Hub",
    ),
    Benchmark(
        name="siuo",
        hub="sinwang/SIUO",
        configs=(),
        files="siuo_gen.json",
        field=None,
        split="train",
        question="question",
        words=None,
        pictures=("images/{image}",),
        category="category",
        judge="GPT-4o",
        n=167,
        harmful=True,
        source="repository: README of sinwang20/SIUO; file and columns: told by third parties; not verified against "
        "the Hub",
    ),
    Benchmark(
        name="mssbench_safe",
        hub="kzhou35/mssbench",
        configs=(),
        files="combined.json",
        field="chat",
        split="train",
        question="queries",
        words=None,
        pictures=("chat/{safe_image_path}",),
        category=None,
        judge="GPT-4o",
        n=300,
        harmful=False,
        source=_MSSBENCH,
    ),
    Benchmark(
        name="mssbench_unsafe",
        hub="kzhou35/mssbench",
        configs=(),
        files="combined.json",
        field="chat",
        split="train",
        question="queries",
        words=None,
        pictures=("chat/{unsafe_image_path}",),
        category=None,
        judge="GPT-4o",
        n=300,
        harmful=True,
        source=_MSSBENCH,
    ),
    Benchmark(
        name="vlsbench",
        hub="Foreshhh/vlsbench",
        configs=(),
        files=None,
        field=None,
        split="train",
        question="instruction",
        words=None,
        pictures=("image",),
        category="category",
        judge="not stated",
        n=2400,
        harmful=True,
        source="n: the paper's Table 18, though 2,241 rows are released; repository: README of AI45Lab/VLSBench; "
        "split and columns: told by third parties that load it; not verified against the Hub",
    ),
    Benchmark(
        name="mossbench",
        hub="AIcell/MOSSBench",
        configs=("oversensitivity",),
        files=None,
        field=None,
        split="train",
        question="question",
        words=None,
        pictures=("image",),
        category=None,
        judge="GPT",
        n=300,
        harmful=False,
        source="config, split and columns: README of xirui-li/MOSSBench, where third parties say that they lie "
        "otherwise; not verified against the Hub",
    ),
)
"""Source of judges and n: arXiv 2501.18533, App. B.3.3 and Tables 9 and 18."""
NAMES: tuple[str, ...] = tuple(one.name for one in BENCHMARKS)


def benchmark_of(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UsageError: There is none.
    """
    for one in BENCHMARKS:
        if one.name == name:
            return one
    raise UsageError(f"no benchmark {shown(name)}; there are {', '.join(NAMES)}")


def load(benchmark: Benchmark, path: Path | None = None, commit: str | None = None) -> Iterator[BenchmarkRow]:
    """The rows of a benchmark, one in memory at a time.

    Args:
        benchmark: Which.
        path: Folder that holds what the repository holds; None: the Hub.
        commit: of the repository, where all of it is read; None: that of now, see `commit_of`.

    Yields:
        The rows in their order. Where it ends with another number of rows than the paper's, a `UserWarning` says so.

    Raises:
        UsageError: There is no such folder, the benchmark is not on the Hub, its one question is not given, or a
            column is missing.
        DatasetError: It cannot be loaded, a file of it lies outside of its folder, or a row lacks its question or a
            picture.
    """
    from mis_dataset.other import commit_of, place_of

    if not (benchmark.question or benchmark.words):
        raise UsageError(
            f"{benchmark.name}: asks one question of all pictures; give it with --question, as its authors do"
        )
    if path is None and benchmark.hub is None:
        raise UsageError(f"{benchmark.name}: is not on the Hub; fetch it ({benchmark.source}) and give its folder")
    if path is not None and not path.is_dir():
        raise UsageError(f"{path}: is no folder; give the one that holds {benchmark.name}")
    place = place_of(str(path) if path is not None else str(benchmark.hub))
    if path is None:  # one commit for rows and pictures: a push in between would mix two releases
        place = place._replace(commit=commit or commit_of(place.path))
    number = -1
    rows = ((config, row) for config in benchmark.configs or (None,) for row in _rows(benchmark, place, config))
    for number, (config, row) in enumerate(rows):
        yield _made(benchmark, place, f"{benchmark.name}/{number}", config, row)
    if number + 1 != benchmark.n:
        warnings.warn(f"{benchmark.name}: {number + 1} rows, the paper has {benchmark.n}", stacklevel=2)


def _rows(benchmark: Benchmark, place: Place, config: str | None) -> Iterator[dict[str, Any]]:
    """Rows of one config as they stand there, pictures undecoded.

    Raises:
        UsageError: A column is missing.
        DatasetError: It cannot be loaded or read.
    """
    from mis_dataset.other import LOAD_ERRORS, listed, reason_of

    where = f"{benchmark.name}: {config or 'the default config'}"
    try:
        table = iter(_stream(benchmark, place, config, where))
        first = next(table, None)
        if first is None:
            return
        missing = [column for column in benchmark.columns() if column not in first]
        if missing:
            raise UsageError(
                f"{where} has no column {missing[0]}; it has {listed(first)}: it is another release than meant here"
            )
        yield from chain([first], table)
    except LOAD_ERRORS as error:
        raise DatasetError(f"{where}: cannot be read: {reason_of(error)}; fetch it again") from error


def _stream(benchmark: Benchmark, place: Place, config: str | None, where: str) -> Iterable[dict[str, Any]]:
    import datasets

    words: dict[str, Any] = {"field": benchmark.field} if benchmark.field else {}
    if benchmark.files:
        words["data_files"] = benchmark.files.format(config=config)
    builder = datasets.load_dataset_builder(
        place.path, None if benchmark.files else config, revision=place.commit, **words
    )
    _refuse_outside(builder.config.data_files or {}, place, where)
    table: datasets.IterableDataset = builder.as_streaming_dataset(split=benchmark.split)
    # Files of JSON and CSV know no pictures, and `decode` refuses a table that does not know its columns yet.
    plain: Iterable[dict[str, Any]] = table if table.features is None else table.decode(False)
    return plain


def _refuse_outside(files: dict[str, list[str]], place: Place, where: str) -> None:
    """Refuses files of rows that lie elsewhere, where a card or a link may point."""
    for file in chain.from_iterable(files.values()):
        name = str(file)
        inside = name.startswith(f"hf://datasets/{place.path}@")
        if not inside and ("://" in name or not Path(name).resolve().is_relative_to(place.folder)):
            raise DatasetError(f"{where}: its rows {shown(name)} are in no file of its own folder; put them there")


def _made(benchmark: Benchmark, place: Place, id_: str, config: str | None, row: dict[str, Any]) -> BenchmarkRow:
    question = _first(row[benchmark.question]) if benchmark.question else benchmark.words
    if not isinstance(question, str) or not question.strip():
        raise DatasetError(f"{id_}: {benchmark.question} is no question; mend that row")
    images = [image for spec in benchmark.pictures for image in _images(place, id_, spec, row)]
    if not images:
        raise DatasetError(f"{id_}: has no picture; mend that row")
    category = row[benchmark.category] if benchmark.category else (config if len(benchmark.configs) > 1 else None)
    return BenchmarkRow(id_, question, tuple(images), None if category is None else str(category), benchmark.harmful)


def _first(asked: Any) -> Any:
    return next(iter(asked), None) if isinstance(asked, list) else asked


def _images(place: Place, id_: str, spec: str, row: dict[str, Any]) -> list[bytes]:
    """The pictures that one of `Benchmark.pictures` means."""
    from mis_dataset.other import bytes_of

    names = _braced(spec)
    empty = [name for name in names or [spec] if row[name] in (None, "", [])]
    if empty:
        raise DatasetError(f"{id_}: {empty[0]} is empty where its picture should be; mend that row")
    held = spec.format_map(row) if names else row[spec]
    pictures = [_linked(place, id_, one) if isinstance(one, str) else one for one in _as_list(held)]
    if None in pictures:
        raise DatasetError(f"{id_}: {spec} holds a null where a picture should be; mend that row")
    return bytes_of(id_, pictures, place.folder)


def _linked(place: Place, id_: str, path: str) -> dict[str, Any]:
    """A picture that is told by its path, fetched where it is on the Hub."""
    local = Path(place.path)
    parts = PurePosixPath(path).parts
    if ".." in parts or "://" in path or PurePosixPath(path).is_absolute():
        raise DatasetError(f"{id_}: picture {shown(path)} is no path in the dataset's own folder; mend that row")
    if local.is_absolute():
        return {"bytes": None, "path": str(local / path)}
    from huggingface_hub import hf_hub_download

    from mis_dataset.other import LOAD_ERRORS, reason_of

    try:
        return {"bytes": None, "path": hf_hub_download(place.path, path, repo_type="dataset", revision=place.commit)}
    except LOAD_ERRORS as error:
        raise DatasetError(f"{id_}: picture {shown(path)} cannot be fetched: {reason_of(error)}; try again") from error


def _as_list(held: Any) -> list[Any]:
    return held if isinstance(held, list) else [held]


def _braced(spec: str) -> list[str]:
    """Columns in the braces of a path.

    >>> _braced("chat/{safe_image_path}"), _braced("image")
    (['safe_image_path'], [])
    """
    return [name for _, name, _, _ in Formatter().parse(spec) if name]
