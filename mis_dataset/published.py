"""What the paper and the authors' files say the release holds, and where a release differs.

A difference alone is no fault: a release may have been mended since, or be another one.
"""

from __future__ import annotations

from collections import Counter

from mis_dataset.errors import Problem
from mis_dataset.release import Release
from mis_dataset.schema import CATEGORIES, PROVENANCE

ROWS: dict[str, int] = {"mis_train.json": 3927, "mis_easy.json": 1675, "mis_hard.json": 510, "mis_real.json": 100}
"""Records by file. Source: arXiv 2501.18533, section 3.2 and Table 19."""

CATEGORY_ROWS: dict[str, dict[str, int]] = {
    "mis_easy.json": dict(zip(CATEGORIES, (678, 338, 126, 140, 280, 113), strict=True)),
    "mis_hard.json": dict(zip(CATEGORIES, (338, 78, 24, 6, 30, 34), strict=True)),
}
"""Records by category. Those of hard are counted in its file; those of easy are Table 3 less these."""

SUB_CATEGORY_ROWS: dict[str, int] = {
    "Property Crimes": 395,
    "Cybercrimes": 304,
    "Drug-Related Offenses": 295,
    "Human Trafficking": 22,
    "Weapon-Related Violence": 228,
    "Public Violence and Rioting": 128,
    "Abuse and Physical Altercations": 60,
    "Racial and Ethnic Discrimination": 297,
    "Gender Discrimination": 13,
    "Physical Self-Injury": 132,
    "Psychological Harm": 18,
    "Unauthorized Data Collection": 125,
    "Identity Theft": 22,
    "Erotic Visual Content": 146,
}
"""Records of easy and hard together. Source: arXiv 2501.18533, Table 3."""

_MINI = "mini/objects.json"
_TABLE_3 = ("mis_easy.json", "mis_hard.json")


def differences(release: Release) -> list[Problem]:
    """Compares the counts of a release with the published ones.

    Args:
        release: as `survey` found it.

    Returns:
        At most one entry for the records, one for the categories of each file, and one for the sub-categories of easy
        and hard together; each gives what was found and, in brackets, what is published. Empty for MIS-mini and for
        what was constructed, which are other releases and say so.
    """
    if any((release.root / name).is_file() for name in (_MINI, PROVENANCE)):
        return []
    found = []
    for file, published in ROWS.items():
        records = release.records.get(file, ())
        if len(records) != published:
            found.append(Problem(file, None, f"records: {len(records)} (published: {published})"))
    for file, by_category in CATEGORY_ROWS.items():
        counted = Counter(str(record.category) for record in release.records.get(file, ()))
        found += _differing(file, "category", counted, by_category)
    counted = Counter(str(record.sub_category) for file in _TABLE_3 for record in release.records.get(file, ()))
    return found + _differing(_TABLE_3[0], "sub_category, with mis_hard.json", counted, SUB_CATEGORY_ROWS)


def _differing(file: str, what: str, found: Counter[str], published: dict[str, int]) -> list[Problem]:
    names = [name for name in {**published, **found} if found[name] != published.get(name, 0)]
    told = ", ".join(f"{name} {found[name]} ({published.get(name, 0)})" for name in names)
    return [Problem(file, None, f"records by {what} (published): {told}")] if names else []
