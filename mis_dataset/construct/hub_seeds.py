"""Seeds from a dataset on the Hub, or from a local folder of one: texts, and questions about a picture.

    seeds: [{hub: Foreshhh/vlsbench}, {hub: OWNER/NAME, split: test, text: prompt, image: picture, revision: 0f3a...}]

Of the datasets that the paper took its seeds from, columns and licences are known (`KNOWN`); of others they are named.
No code of a dataset is run, and rows are streamed. A row before and after::

    {"question": "What is this for?", "image": <7.png>, ...}
    Seed("s7", "What is this for?", "OWNER/NAME@<commit>:test:6", "CC-BY-4.0", None, "seeds/s7.png")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mis_dataset.construct.hub_sets import HubSet, pinned
from mis_dataset.decoding import plain_png
from mis_dataset.errors import DatasetError, PictureError, UsageError
from mis_dataset.record import shown
from mis_dataset.schema import CATEGORIES

if TYPE_CHECKING:
    from datasets import IterableDataset

UNKNOWN = "unknown"
"""Licence of a dataset whose card we have not seen."""


@dataclass(frozen=True)
class HubSeeds:
    """A dataset whose rows are seeds.

    Attributes:
        hub: repository on the Hub, or a local folder.
        text: column of a text, or of a list of texts, of which the first is taken.
        image: column of the picture that the text is about; empty where there is none.
        category: column, whose values count where they are of `schema.CATEGORIES`; or one of these, for all rows.
        split: as `load_dataset` calls it.
        config: one of its configs; empty for the default.
        files: of rows inside the repository, with wildcards; empty: as its card says.
        licence: of the dataset, as an SPDX id or in its own words.
        revision: branch, tag or commit; a run is written down, and repeated, by the commit.
    """

    hub: str
    text: str = ""
    image: str = ""
    category: str = ""
    split: str = "train"
    config: str = ""
    files: str = ""
    licence: str = ""
    revision: str = ""


KNOWN: Mapping[str, HubSeeds] = {
    one.hub: one
    for one in (
        HubSeeds("PKU-Alignment/MM-SafetyBench", "question", "image", files="data/*/SD_TYPO.parquet"),
        HubSeeds("Foreshhh/vlsbench", "instruction", "image", "category"),
        HubSeeds("sqrti/SPA-VL", "question", "image", licence="CC-BY-4.0"),
        HubSeeds("walledai/AdvBench", "prompt", licence="MIT"),
        HubSeeds("MMInstruction/RedTeamingVLM", "instruction", files="data/Jailbreak/jailbreak.jsonl"),
        HubSeeds("YangyiYY/LVLM_NLF", "query", files="VLSafe/VLSafe_harmlessness_examine.jsonl"),
        HubSeeds("openlamm/Ch3Ef"),
    )
}
"""MM-SafetyBench, VLSBench, SPA-VL, AdvBench, RTVLM, VLSafe and Ch3Ef, whose columns must be named. Of RTVLM and VLSafe
the texts alone: their pictures lie in zips, or in COCO.

Source: repositories, files and columns are told by third parties that load them, licences by the cards on the Hub;
none was verified against the Hub."""


class RawSeed(NamedTuple):
    """A row before it has an id.

    Attributes:
        text: of the row.
        source: ``<hub>@<commit>:<split>:<row>``, counted from 0.
        licence: of the dataset.
        category: one of `schema.CATEGORIES`, or None.
        picture: as a PNG with its pixels alone; empty where there is none.
    """

    text: str
    source: str
    licence: str
    category: str | None
    picture: bytes


def hub_seeds(table: Mapping[str, Any]) -> HubSeeds:
    """Makes the settings of one dataset; what they leave out is taken from `KNOWN`.

    Raises:
        UsageError: A setting is unknown or no text, or the column of the text is not known.
    """
    unknown = sorted(set(table) - {field.name for field in fields(HubSeeds)})
    if unknown:
        raise UsageError(f"seeds: {unknown[0]} is no setting of a dataset")
    if wrong := next((name for name, value in table.items() if not isinstance(value, str)), None):
        raise UsageError(f"seeds: {wrong} is no text")
    if not table.get("hub"):
        raise UsageError("seeds: a table names its dataset as hub: OWNER/NAME")
    made = replace(KNOWN.get(table["hub"], HubSeeds(table["hub"])), **table)
    if not made.text:
        raise UsageError(f"seeds: the columns of {made.hub} are not known; name that of the texts, as text: COLUMN")
    return made if made.licence else replace(made, licence=UNKNOWN)


def rows_of_hub(seeds: HubSeeds) -> Iterator[RawSeed]:
    """Reads a dataset, one row at a time. Call it inside `strict_pillow`.

    Raises:
        UsageError: It is neither a folder nor a repository, has no such column, or `datasets` is too old.
        DatasetError: It cannot be loaded, or a row or its picture cannot be read; the text never repeats a row.
    """
    from mis_dataset.other import LOAD_ERRORS, place_of, reason_of

    place = place_of(seeds.hub)
    try:
        builder, name, _ = pinned(HubSet(seeds.hub, seeds.config, seeds.files, seeds.revision), place)
        for number, row in enumerate(_stream(builder.as_streaming_dataset(split=seeds.split))):
            if not number:
                _refuse_missing(seeds, row)
            yield _raw(seeds, row, f"{name}:{seeds.split}:{number}", place.folder)
    except LOAD_ERRORS as error:
        raise DatasetError(
            f"{seeds.hub}: cannot be read: {reason_of(error)}; see what load_dataset says of it"
        ) from error


def _stream(table: IterableDataset) -> Iterator[dict[str, Any]]:
    # Files of JSON and CSV know no pictures, and `decode` refuses a table that does not know its columns yet.
    yield from table if table.features is None else table.decode(False)


def _refuse_missing(seeds: HubSeeds, row: Mapping[str, Any]) -> None:
    from mis_dataset.other import listed

    columns = [seeds.text, seeds.image, "" if seeds.category in CATEGORIES else seeds.category]
    for column in columns:
        if column and column not in row:
            raise UsageError(f"{seeds.hub}: split {seeds.split} has no column {shown(column)}; it has {listed(row)}")


def _raw(seeds: HubSeeds, row: Mapping[str, Any], where: str, folder: Path) -> RawSeed:
    text = row[seeds.text]
    text = next(iter(text), None) if isinstance(text, list) else text
    if not isinstance(text, str) or not text.strip():
        raise DatasetError(f"{where}: {seeds.text} is no text; name another column")
    category = seeds.category if seeds.category in CATEGORIES else row.get(seeds.category)
    category = category if isinstance(category, str) and category in CATEGORIES else None
    picture = _picture(seeds, row[seeds.image], where, folder) if seeds.image else b""
    return RawSeed(text, where, seeds.licence, category, picture)


def _picture(seeds: HubSeeds, held: Any, where: str, folder: Path) -> bytes:
    from mis_dataset.other import bytes_of

    held = next(iter(held), None) if isinstance(held, list) else held
    if held is None:
        return b""
    if not isinstance(held, dict) or not {"bytes", "path"} <= set(held):
        raise DatasetError(f"{where}: {seeds.image} is no column of pictures; name another or leave it out")
    try:
        return plain_png(bytes_of(where, [held], folder)[0])
    except PictureError as error:
        raise DatasetError(f"{where}: its picture {error}") from error
