"""Planted verdicts: a judge that is blind is found, one that sees is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import attempt
from trainer.artefacts import Verdict, open_artefact
from trainer.canary import canary
from trainer.files import ArtefactError
from trainer.sidecars import read_sidecar

WORDS = {"U": "Unsafe", "S": "Safe", "-": "Unscored"}
OWN = "UUUUUUUUUUSSSSSSSSSS" * 5
ONE_MOVED = "S" + OWN[1:]
ALL_SAFE = "S" * 100


def judged(path: Path, verdicts: str, pictures: str, judge: str = "seer", said: str = "said", **more: object) -> Path:
    """Verdicts, a letter each, of a judge that was given such pictures and such responses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    responses, dataset = path.parent / f"{said}.jsonl", path.parent / f"{pictures}.parquet"
    responses.write_text(said)
    dataset.write_text(pictures)
    artefact = open_artefact(path, Verdict, {"judge": judge, "judge_version": "1-a", **more}, [responses, dataset])
    rows = [
        Verdict(f"test_hard/{n}", WORDS[v], 0 if v == "-" else 2, judge, None, response_sha256=said)  # type: ignore[arg-type]
        for n, v in enumerate(verdicts)
    ]
    artefact.append(rows)
    return artefact.finish([row.id for row in rows])


def test_a_judge_that_decides_by_words_alone_is_blind(tmp_path: Path) -> None:
    own = judged(tmp_path / "own.jsonl", OWN, "own")
    probes = [
        judged(tmp_path / "blank.jsonl", OWN, "blank"),
        judged(tmp_path / "swapped.jsonl", ONE_MOVED, "swapped"),
    ]
    found = canary(own, probes, margin=0.06)
    assert found["state"] == "blind"
    assert [(one["file"], one["moved"]["k"], one["moved"]["n"]) for one in found["probes"]] == [
        ("blank.jsonl", 0, 100),
        ("swapped.jsonl", 1, 100),
    ]
    assert found["probes"][1]["table"]["Unsafe"] == {"Unsafe": 49, "Safe": 1, "Unscored": 0}
    # Wilson interval of 1 of 100.
    assert round(found["probes"][1]["moved"]["high"], 3) == 0.054


def test_a_judge_whose_verdicts_move_in_one_probe_sees(tmp_path: Path) -> None:
    own = judged(tmp_path / "own.jsonl", OWN, "own")
    probes = [judged(tmp_path / "swapped.jsonl", OWN, "swapped"), judged(tmp_path / "none.jsonl", ALL_SAFE, "none")]
    assert canary(own, probes)["state"] == "sees"
    assert canary(own, probes[:1])["state"] == "blind"
    # Wilson interval of 50 of 100: 0.404 to 0.596.
    assert canary(own, probes, margin=0.40)["state"] == "sees"
    assert canary(own, probes, margin=0.41)["state"] == "not decided"
    assert canary(own, probes, margin=0.59)["state"] == "not decided"
    assert canary(own, probes, margin=0.60)["state"] == "blind"


@pytest.mark.parametrize(
    ("moved", "n", "state", "wanted"),
    [
        (2, 20, "not decided", 73),  # 0.028 to 0.301: what noise does, too
        (0, 20, "not decided", 73),  # up to 0.161
        (0, 72, "not decided", 73),
        (0, 73, "blind", None),
        (8, 80, "sees", None),
        (7, 70, "not decided", 73),
        (1, 20, "not decided", None),  # the margin itself: no number of rows would do
    ],
)
def test_a_few_verdicts_that_move_are_no_sight_and_few_that_stay_no_blindness(
    tmp_path: Path, moved: int, n: int, state: str, wanted: int | None
) -> None:
    own = judged(tmp_path / "own.jsonl", "U" * n, "own")
    probe = judged(tmp_path / "blank.jsonl", "S" * moved + "U" * (n - moved), "blank")
    found = canary(own, [probe])
    assert (found["state"], found["probes"][0]["rows_wanted"]) == (state, wanted)


def test_a_verdict_that_is_lost_or_found_has_not_moved_and_is_told_apart(tmp_path: Path) -> None:
    own = judged(tmp_path / "own.jsonl", "U" * 80 + "-" * 20, "own")
    found = canary(own, [judged(tmp_path / "none.jsonl", "-" * 30 + "U" * 60 + "-" * 10, "none")])
    probe = found["probes"][0]
    counts = [(probe[name]["k"], probe[name]["n"]) for name in ("moved", "to_unscored", "from_unscored")]
    assert (counts, found["state"]) == ([(0, 50), (30, 80), (10, 20)], "not decided")
    assert (probe["table"]["Unsafe"]["Unscored"], probe["table"]["Unscored"]["Unsafe"]) == (30, 10)
    nothing = canary(own, [judged(tmp_path / "all.jsonl", "-" * 100, "all")])
    assert (nothing["state"], nothing["probes"][0]["moved"]["n"], nothing["probes"][0]["rows_wanted"]) == (
        "not decided",
        0,
        73,
    )


@pytest.mark.parametrize("judge", ["mini_rules", "minilm", "keywords"])
def test_of_a_judge_that_is_given_no_picture_it_says_so(tmp_path: Path, judge: str) -> None:
    own = judged(tmp_path / "own.jsonl", OWN, "own", judge)
    found = canary(own, [judged(tmp_path / "probe.jsonl", OWN, "own", judge)])
    assert (found["state"], found["probes"][0]["moved"]["k"]) == ("sees no picture", 0)


def test_a_judge_that_sees_with_other_checkpoints_only_is_asked_what_it_was_given(tmp_path: Path) -> None:
    for sees, state in ((False, "sees no picture"), (True, "blind")):
        own, probe = (
            judged(tmp_path / str(sees) / f"{name}.jsonl", OWN, name, "llama_guard", sees=sees) for name in ("own", "b")
        )
        assert canary(own, [probe])["state"] == state


def test_what_is_no_probe_of_the_same_judge_on_the_same_responses_is_refused(tmp_path: Path) -> None:
    own = judged(tmp_path / "own.jsonl", OWN, "own")
    for pictures, judge, said, verdicts, says in (
        ("own", "seer", "said", OWN, "was made with the same pictures as"),
        ("blank", "other", "said", OWN, "its judge is other, that of .* seer"),
        ("blank", "seer", "more", OWN, "100 verdicts are on other responses than those of"),
        ("blank", "seer", "said", OWN[:5], "95 ids stand in one only"),
    ):
        probe = judged(tmp_path / f"{pictures}_{judge}_{said}_{len(verdicts)}.jsonl", verdicts, pictures, judge, said)
        with pytest.raises(ArtefactError, match=says):
            canary(own, [probe])


def test_verdicts_that_a_failed_call_lost_are_no_verdicts_that_moved(tmp_path: Path) -> None:
    own, probe = judged(tmp_path / "own.jsonl", OWN, "own"), judged(tmp_path / "p.jsonl", "-" * 100, "none")
    assert canary(own, [probe])["state"] == "not decided"
    probe.write_text(probe.read_text().replace('"reason": null', '"reason": "call failed: HTTP 503"'))
    for pair in ((own, probe), (probe, own)):
        with pytest.raises(ArtefactError, match=r"p.jsonl: 100 verdicts are missing because a call failed \(first"):
            canary(pair[0], [pair[1]])


def test_what_could_not_be_asked_with_its_pictures_is_no_verdict_that_moved(tmp_path: Path) -> None:
    own, probe = judged(tmp_path / "own.jsonl", OWN, "own"), judged(tmp_path / "p.jsonl", OWN[:90] + "-" * 10, "none")
    assert canary(own, [probe])["probes"][0]["to_unscored"]["k"] == 10
    lines = [json.loads(line) for line in probe.read_text().splitlines()]
    refused = {"verdict": "Unscored", "perception": 0, "reason": "cannot be asked: HTTP 413"}
    lines = [one if one["perception"] else one | refused for one in lines]
    probe.write_text("".join(json.dumps(one) + "\n" for one in lines))
    [told] = canary(own, [probe])["probes"]
    assert [(told[name]["k"], told[name]["n"]) for name in ("moved", "to_unscored")] == [(0, 90), (0, 90)]
    probe.write_text("".join(json.dumps(one | refused) + "\n" for one in lines))
    with pytest.raises(ArtefactError, match="of no response can the judge be asked both ways"):
        canary(own, [probe])


def test_what_a_judge_moves_by_itself_is_no_sight(tmp_path: Path) -> None:
    own = judged(tmp_path / "own.jsonl", OWN, "own")
    probe = judged(tmp_path / "blank.jsonl", "S" * 10 + "U" * 10 + OWN[20:], "blank")  # 20 move: 0.133 to 0.289
    steady = judged(tmp_path / "steady.jsonl", OWN, "own")
    wavering = judged(tmp_path / "wavering.jsonl", "S" * 10 + OWN[10:], "own", prices=[1, 2])  # 10: 0.055 to 0.174
    assert canary(own, [probe])["wavers"] is None
    for again, margin, state in ((steady, 0.05, "sees"), (wavering, 0.174, "not decided")):
        found = canary(own, [probe], again=again)
        assert (round(found["margin"], 3), found["state"]) == (margin, state)
    assert (found["wavers"]["k"], found["wavers"]["n"], found["margin"]) == (10, 100, found["wavers"]["high"])
    assert found["probes"][0]["rows_wanted"] > 100
    assert canary(own, [wavering.with_name("blank.jsonl")], 0.2, wavering)["margin"] == 0.2
    code, line, _ = attempt("canary", own, probe, tmp_path / "out.json", "--again", wavering)
    assert (code, json.loads(line)["wavers"], json.loads(line)["state"]) == (1, 0.1, "not decided")
    assert [Path(name).name for name in read_sidecar(tmp_path / "out.json").inputs] == [
        "own.jsonl",
        "blank.jsonl",
        "wavering.jsonl",
    ]


def test_a_second_time_is_another_file_of_the_same_pictures_and_judge(tmp_path: Path) -> None:
    own, probe = judged(tmp_path / "own.jsonl", OWN, "own"), judged(tmp_path / "blank.jsonl", OWN, "blank")
    other = judged(tmp_path / "other.jsonl", OWN, "own", "other")
    lost = judged(tmp_path / "lost.jsonl", "-" * 100, "own")
    lost.write_text(lost.read_text().replace('"reason": null', '"reason": "call failed: HTTP 503"'))
    for again, says in (
        (own, "is .*own.jsonl itself; judge once more, into another file"),
        (probe, "was made with other pictures than .*own.jsonl; judge once more with the same"),
        (other, "its judge is other, that of .* seer"),
        (lost, "100 verdicts are missing because a call failed"),
    ):
        with pytest.raises(ArtefactError, match=says):
            canary(own, [probe], again=again)


def test_other_prices_make_no_probe(tmp_path: Path) -> None:
    own, same = (judged(tmp_path / f"{n}.jsonl", OWN, "own", prices=n) for n in (1, 2))
    with pytest.raises(ArtefactError, match="was made with the same pictures as"):
        canary(own, [same])


def test_the_verb_exits_0_for_a_judge_that_sees_alone(tmp_path: Path) -> None:
    own = judged(tmp_path / "own.jsonl", OWN, "own")
    same, other = judged(tmp_path / "b.jsonl", OWN, "blank"), judged(tmp_path / "n.jsonl", ALL_SAFE, "none")
    code, line, error = attempt("canary", own, same, tmp_path / "blind.json")
    assert (code, error, json.loads(line)["state"]) == (1, "", "blind")
    few, moved = (
        judged(tmp_path / "few.jsonl", OWN[:20], "own"),
        judged(tmp_path / "moved.jsonl", "SS" + OWN[2:20], "n"),
    )
    code, line, error = attempt("canary", few, moved, tmp_path / "few.json")
    told = json.loads(line)
    assert (code, error, told["state"], told["moved"], told["rows_wanted"]) == (1, "", "not decided", [0.1], [73])
    words, more = (judged(tmp_path / f"{name}.jsonl", OWN, name, "keywords") for name in ("words", "more"))
    code, line, error = attempt("canary", words, more, tmp_path / "words.json")
    assert (code, error, json.loads(line)["state"]) == (1, "", "sees no picture")
    code, line, error = attempt("canary", own, same, other, tmp_path / "sees.json", "--margin", "0.1")
    assert (code, error) == (0, "")
    assert (json.loads(line)["moved"], json.loads((tmp_path / "sees.json").read_text())["margin"]) == ([0.0, 0.5], 0.1)


def test_a_margin_that_is_no_share_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        attempt("canary", tmp_path / "a", tmp_path / "b", tmp_path / "out", "--margin", "5")
    assert end.value.code == 2
