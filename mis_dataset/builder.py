"""`MISBuilder`: MIS from a raw release, as any builder of `datasets`, from version 3.6 on.

Three questions, as every builder answers them: what does a row look like, which splits are there, what are their rows.
`build` does not go through it: it can be killed and go on, and writes the same bytes with any number of processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from mis_dataset.errors import ReleaseError, UsageError
from mis_dataset.pictures import Pictures
from mis_dataset.record import Record
from mis_dataset.release import read_release
from mis_dataset.schema import features


@dataclass
class MISConfig(datasets.BuilderConfig):
    """Names what `datasets` keeps in its cache after the release's files, so that a changed release is read anew."""

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """As `datasets` asks for it; adds names, sizes and times of all files."""
        if self.data_dir:
            files = [(str(path), path.lstat()) for path in sorted(Path(self.data_dir).rglob("*"))]
            held = json.dumps([(name, told.st_size, told.st_ctime_ns) for name, told in files])
            config_kwargs = {**config_kwargs, "files": hashlib.sha256(held.encode()).hexdigest()}
        return str(super().create_config_id(config_kwargs, custom_features))


class MISBuilder(datasets.GeneratorBasedBuilder):
    """MIS from a raw release.

    ``MISBuilder(data_dir=RAW)`` is used like any builder, for example as
    ``MISBuilder(data_dir=RAW).download_and_prepare(OUT, file_format="parquet")``.
    """

    BUILDER_CONFIG_CLASS = MISConfig
    VERSION = datasets.Version("1.0.0")

    def _info(self) -> datasets.DatasetInfo:
        """What does a row look like?"""
        return datasets.DatasetInfo(
            description="MIS: Multi-Image Safety. Pairs of pictures with a question about both.",
            features=features(),
            homepage="https://arxiv.org/abs/2501.18533",
            license="apache-2.0",
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        """Which splits are there, and which records are theirs?"""
        if not self.config.data_dir:
            raise UsageError("MISBuilder needs data_dir=RAW, the folder of the raw release")
        release = read_release(Path(self.config.data_dir))
        with Pictures(release.root) as pictures:
            if pictures.problems:
                raise ReleaseError(pictures.problems)
        return [
            # The records are a list, not a tuple: `datasets` deals lists out to its num_proc processes.
            datasets.SplitGenerator(split, {"root": str(release.root), "records": list(release.rows(split))})
            for split in release.counts()
        ]

    def _generate_examples(self, root: str, records: list[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What are the rows of one split, in order?"""
        with Pictures(Path(root)) as pictures:
            for record in records:
                yield record.id, pictures.row(record)
