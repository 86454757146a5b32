"""The README's figures are those that `bars`, `seeds`, `agree` and `calibrate` wrote."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mis_dataset.mini.write import BLOCKS
from trainer.audit import audit, read_table
from trainer.bars import BARS, _aim, _must, read_bars
from trainer.calibrate import calibrate
from trainer.judges.choice import BY_THINGS, TEXT_ONLY, Choice, version_of
from trainer.labelled import SETS, Gold, read_gold
from trainer.recipe import CONFIGS

BENCHMARKS = BARS.parent
README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
MEASURED = json.loads(BARS.with_name("measured.json").read_text("utf-8"))
"""What `bars` printed for the run that the README speaks of."""
REPORT = json.loads(BARS.with_name("report.json").read_text("utf-8"))
"""What `report` wrote for the run of one seed that the README speaks of."""
SPREAD = json.loads(BARS.with_name("seeds.json").read_text("utf-8"))
"""What `seeds` wrote for the same run."""
GOLD = Path(__file__).parent / "fixtures" / "gold_responses.jsonl"
CALIBRATIONS = [
    json.loads(BARS.with_name(name).read_text("utf-8")) for name in ("calibration.json", "calibration_minilm.json")
]
"""What `calibrate` wrote of PyRIT's wheel and the judges that can read it here."""


def bars_table(found: dict[str, Any]) -> str:
    """The bars that have a must: a line each, a column for every run; n is the least of all runs."""
    held = [bar for bar in found["bars"] if bar["must"] and bar["state"] != "absent"]
    runs = dict.fromkeys(bar["run"] or "measured" for bar in held)
    lines = [row("figure", "must", *runs, "n", ""), row(*["---"] * (len(runs) + 4))]
    for name in dict.fromkeys(bar["name"] for bar in held):
        one = [bar for bar in held if bar["name"] == name]
        measured = ["-" if bar["measured"] is None else f"{bar['measured']:.4g}" for bar in one]
        state = "**missed**" if any(bar["state"] == "fail" for bar in one) else "holds"
        lines.append(row(name, one[0]["must"], *measured, str(min(bar["n"] for bar in one)), state))
    return "\n".join(lines)


def spread_table(found: dict[str, Any]) -> str:
    """Mean, least and most of every figure."""
    heads = [f"{kind} seeds {', '.join(part['runs'])}" for kind, part in found.items()]
    lines = [row("contrast: mean (least to most)", *heads), row(*["---"] * (len(heads) + 1))]
    for figure in found["data"]["spread"]:
        ranges = [part["spread"][figure] for part in found.values()]
        lines.append(row(figure, *(f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in ranges)))
    return "\n".join(lines)


def speed_table() -> str:
    """What `benchmarks.dataset_room` measured against its limits."""
    limits = tomllib.loads((BENCHMARKS / "dataset_bars.toml").read_text("utf-8"))
    found = json.loads((BENCHMARKS / "dataset_room.json").read_text("utf-8"))
    lines = [row("", "measured", "must"), row(*["---"] * 3)]
    for group, words in (("ratios", ""), ("seconds", "seconds of "), ("peak_mb", "most MB of ")):
        for name, limit in limits[group].items():
            must = f">= {limit['least']}" if "least" in limit else f"<= {limit['most']}"
            lines.append(row(words + name, f"{found[group][name]:.3g}", must))
    return "\n".join(lines)


def audit_table(found: dict[str, Any]) -> str:
    """What `audit` found: the cells, then the rows."""
    lines = [row("model", "split", "n", "printed", "counts"), row(*["---"] * 5)]
    for one in found["impossible_cells"]:
        near = ", ".join(f"{count['k']} is {count['printed']}" for count in one["nearest"])
        lines.append(audit_row(one, f"{one['column'].upper()} {one['printed']}", f"none: {near}"))
    for one in found["truncated_cells"]:
        counts = f"{one['k']}, truncated; rounded it is {one['rounded']}"
        lines.append(audit_row(one, f"{one['column'].upper()} {one['printed']}", counts))
    for one in found["impossible_rows"]:
        ends = dict.fromkeys(map(str, one["counts_sum"].values()))
        lines.append(audit_row(one, f"sum {one['printed_sum']}", f"{' to '.join(ends)} in all"))
    return "\n".join(lines)


def calibration_table(all_found: Sequence[dict[str, Any]]) -> str:
    """Judges against people, and what PyRIT's own judges reach by its wheel, a line each set and judge."""
    heads = ("set", "judge", "help", "decline", "accuracy", "kappa", "scored", "published accuracy")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for name in SETS:
        for found in all_found:
            one, others = found["sets"][name], found["published"].get(name)
            lines.append(
                row(
                    f"`{name}`",
                    f"`{found['judge']}`",
                    *measured_cells(one),
                    f"{others['judges']} judges, {others['least']:.2f} to {others['most']:.2f}" if others else "-",
                )
            )
    return "\n".join(lines)


def measured_cells(one: dict[str, Any]) -> tuple[str, ...]:
    """Help, decline, accuracy, kappa and how many were scored."""
    accuracy, kappa = one["accuracy"], one["kappa"]
    ends = "no interval" if kappa["low"] is None else f"{kappa['low']:z.2f} to {kappa['high']:.2f}"
    return (
        *(f"{one[rate]['k']} of {one[rate]['n']}" for rate in ("sensitivity", "specificity")),
        f"{accuracy['rate']:.2f} ({accuracy['low']:.2f} to {accuracy['high']:.2f})",
        f"{kappa['kappa']:.2f} ({ends})",
        f"{one['coverage']['k']} of {one['n']}",
    )


def gold_of(judges: Sequence[str]) -> dict[str, Any]:
    """Each judge against the gold set of tests/fixtures."""
    gold, labelled = Gold(GOLD.name, None, ""), {"gold": read_gold(GOLD)}
    return {judge: calibrate(Choice(judge), gold, labelled)["sets"]["gold"] for judge in judges}


def kinds_table(found: dict[str, Any]) -> str:
    """How often a judge is right on each kind of response, and on perception, of those that it scored."""
    lines = [row("kind", "n", *(f"`{judge}`" for judge in found)), row(*["---"] * (2 + len(found)))]
    first = next(iter(found.values()))
    for kind, about in first["kinds"].items():
        right = (one["kinds"][kind]["accuracy"] for one in found.values())
        lines.append(row(kind, str(about["n"]), *(f"{one['k']} of {one['n']}" for one in right)))
    levels = (one["perception"] for one in found.values())
    return "\n".join(
        [*lines, row("perception, of all", str(first["n"]), *(f"{one['k']} of {one['n']}" for one in levels))]
    )


def gold_table(found: dict[str, Any]) -> str:
    """The same in all."""
    lines = [row("judge", "help", "decline", "accuracy", "kappa", "scored"), row(*["---"] * 6)]
    lines += [row(f"`{judge}`", *measured_cells(one)) for judge, one in found.items()]
    return "\n".join(lines)


def audit_row(one: dict[str, Any], printed: str, counts: str) -> str:
    """One finding of `audit`."""
    return row(one["model"], one["split"], str(one["n"]), printed, counts)


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def test_the_readme_shows_what_was_measured() -> None:
    table = bars_table(MEASURED)
    assert table in README, f"README.md should show:\n{table}"


def test_the_readme_shows_how_fast_the_dataset_room_is() -> None:
    table = speed_table()
    assert table in README, f"README.md should show:\n{table}"


def test_the_readme_shows_what_the_published_leaderboard_holds() -> None:
    found = audit(read_table(BENCHMARKS / "published_leaderboard.csv"))
    table, cells, rows = audit_table(found), found["cells"], found["rows"]
    assert table in README, f"README.md should show:\n{table}"
    said = (
        f"of {cells['checked']} cells {cells['impossible']} are no count of n and {cells['truncated']} only when "
        f"truncated; the counts of {rows['impossible']} of {rows['checked']} rows cannot add up to n"
    )
    assert said in " ".join(README.split())


def test_the_readme_shows_how_judges_do_on_what_people_labelled() -> None:
    table = calibration_table(CALIBRATIONS)
    assert table in README, f"README.md should show:\n{table}"
    for one in CALIBRATIONS:
        assert f"pyrit {one['gold']['version']}" in README
        assert one["gold"]["name"] in README


@pytest.mark.slow
def test_the_readme_shows_how_judges_that_need_no_model_do_on_the_gold_set() -> None:
    found = gold_of(TEXT_ONLY)
    for table in (gold_table(found), kinds_table(found)):
        assert table in README, f"README.md should show:\n{table}"


def test_what_was_calibrated_are_the_judges_as_they_are() -> None:
    assert [one["judge"] for one in CALIBRATIONS] == [name for name in TEXT_ONLY[::-1] if name not in BY_THINGS]
    for one in CALIBRATIONS:
        assert one["judge_version"] == version_of(one["judge"])
        assert list(one["sets"]) == list(SETS)
        assert list(one) == ["judge", "judge_version", "arm", "gold", "sets", "published"]


def test_the_readme_says_how_fast_judging_was() -> None:
    found = json.loads(BARS.with_name("judging.json").read_text("utf-8"))
    runs, said = found["runs"], " ".join(README.split())
    assert (
        f"was {found['ratios']['one by one to in flight, time a row']:.0f} times as fast as asking row by row" in said
    )
    assert f"({runs['256 px']['seconds']:.1f} s on two cores, the median of three rounds" in said
    assert runs["256 px"]["seconds"] == found["seconds"]["of each round"][1]
    assert f"at most {runs['256 px']['peak_mb']:.0f} MB of its own; repeated, no call and" in said
    assert f"no call and {found['seconds']['second run']:.1f} s)" in said
    assert f"1024 px PNGs cost {1000 * runs['1024 px']['seconds a row']:.0f} ms a row" in said
    assert f"made 512 px first, {1000 * runs['1024 px made 512']['seconds a row']:.0f} ms a row" in said


def test_the_readme_shows_the_spread_that_was_measured() -> None:
    table = spread_table(SPREAD)
    assert table in README, f"README.md should show:\n{table}"


def test_the_readme_names_every_bar_that_was_missed() -> None:
    missed = {bar["name"] for bar in MEASURED["bars"] if bar["state"] == "fail"}
    stands = README.partition("## Where it stands")[2].partition("## Limits")[0]
    assert [name for name in missed if name not in " ".join(stands.split())] == []
    assert ("Every must" in stands) == MEASURED["passed"]


def evaluated_table(models: dict[str, Any]) -> str:
    """What `evaluate` printed: a line for every model and probe."""
    heads = ("model and probe", "ASR on easy", "hard", "real", "pair accuracy on easy", "hard", "real", "unscored")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for name, one in models.items():
        rates = [f"{one[figure][split]:.3f}" for figure in ("asr", "pair_accuracy") for split in one["asr"]]
        lines.append(row(name, *rates, f"{one['unscored']} of {one['n']}"))
    return "\n".join(lines)


def test_the_readme_shows_what_evaluate_printed() -> None:
    models = json.loads(BARS.with_name("evaluated.json").read_text("utf-8"))["models"]
    assert len(models) == 10
    assert evaluated_table(models) in README
    models["base"]["unscored"] += 1
    assert evaluated_table(models) not in README


def test_the_readme_says_which_trainings_the_gate_stopped() -> None:
    lines = BARS.with_name("gated.jsonl").read_text("utf-8").splitlines()
    found = {Path(one["arm"]).name: one for one in map(json.loads, lines)}
    whole = found.pop("gated")
    assert (whole["passed"], whole["steps"]) == (True, 412)
    best = whole["gate"]["best"]
    assert f"one of contrast went to its end, with the best checkpoint at step {best}" in " ".join(README.split())
    assert {one["passed"] for one in found.values()} == {False}
    assert all("had collapsed" in one["gate"]["stopped"] for one in found.values())
    steps = {name: one["steps"] for name, one in found.items()}
    said = f"after {steps['g_refusal']} of 118 steps on bare refusals and after {steps['g_lr100']} of 412"
    assert said in " ".join(README.split())


def test_the_readme_says_how_far_the_judges_agree() -> None:
    found = json.loads(BARS.with_name("agree.json").read_text("utf-8"))["all"]
    same, kappa = found["agreement"], found["kappa"]["kappa"]
    said = (
        f"{same['k']} of {same['n']} responses of contrast the same verdict (kappa {kappa:.2f}; {found['unscored']} un"
    )
    assert said in " ".join(README.split())


def test_the_readme_says_how_the_judges_differ() -> None:
    found = json.loads(BARS.with_name("agree.json").read_text("utf-8"))
    twins = found["splits"]["test_benign"]
    assert found["all"]["table"]["Safe"]["Unsafe"] == 0
    differ, of_twins = found["all"]["table"]["Unsafe"]["Safe"], twins["table"]["Unsafe"]["Safe"]
    words = " ".join(README.split())
    assert f"All {differ} on which they differ the rule judge takes for help" in words
    assert f"{of_twins} of them twins, where kappa is {twins['kappa']['kappa']:.2f}" in words


def test_the_readme_says_what_the_arms_keep_of_the_abilities() -> None:
    words = " ".join(README.split())
    for arm, kinds in REPORT["ability_minus_base"].items():
        for found in kinds.values():
            low, middle, high = (f"{100 * found[key]:+.1f}" for key in ("low", "difference", "high"))
            assert any(
                f"{arm} {middle} ({words_between}{low} to {high})" in words for words_between in ("", "95 % interval ")
            ) or (f"{arm} {middle} points (95 % interval {low} to {high})" in words), (arm, low, middle, high)


def test_the_readme_says_how_pair_accuracy_comes() -> None:
    dose = REPORT["dose"]
    assert [dose[rows]["rate"] for rows in ("0", "52", "200")] == [0, 0, 0]
    said = f"({dose['100']['k']} of {dose['100']['n']} scored pairs after 100), {dose['all']['rate']:.2f} after all."
    assert said in " ".join(README.split())


def test_the_readme_says_how_much_each_arm_was_trained() -> None:
    dangerous = 7 * BLOCKS["train"]
    for arms in (("mirage", "refusal"), ("contrast", "shuffled")):
        recipes = [yaml.safe_load((CONFIGS / f"mini_{arm}.yaml").read_text("utf-8")) for arm in arms]
        (share, twins, batch), other = ((one["general_share"], one["twins"], _batch(one)) for one in recipes)
        assert other == (share, twins, batch)
        rows = dangerous * (2 if twins else 1)
        general = round(rows * share / (1 - share))
        cells = (", ".join(arms), dangerous, dangerous if twins else 0, general, math.ceil((rows + general) / batch))
        assert row(*map(str, cells)) in README


def _batch(recipe: dict[str, Any]) -> int:
    return int(recipe["per_device_train_batch_size"] * recipe.get("gradient_accumulation_steps", 1))


def test_what_was_measured_was_held_against_these_bars() -> None:
    found = {bar["name"]: (bar["must"], bar["aim"]) for bar in MEASURED["bars"]}
    assert found == {bar.name: (_must(bar), _aim(bar)) for bar in read_bars(BARS)}
