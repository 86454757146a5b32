"""The walk as a list of stations, each of them a verb that a user can type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.__main__ import _parser as dataset_parser
from mis_dataset.processes import alone
from tests.tiny import attempt
from trainer.__main__ import make_parser
from trainer.reproduce import Station, stages
from trainer.stations import Attempt, of_one_seed

RUN = Path("runs") / "x"


def walk(
    *, smoke: bool = False, long: bool = False, control: bool = False, seed: int = 0, training: tuple[int, ...] = ()
) -> list[Station]:
    """Every station in the order in which one lane after the other would be walked."""
    staged = stages(RUN, seed, smoke=smoke, long=long, control=control, training=training)
    return [station for lanes in staged for lane in lanes for station in lane]


@pytest.mark.parametrize("smoke", [True, False])
def test_every_station_is_a_verb_that_parses(smoke: bool) -> None:
    from cards.__main__ import make_parser as cards_parser

    parsers = {"mis_dataset": dataset_parser(), "trainer": make_parser(), "cards": cards_parser()}
    for station in walk(smoke=smoke, long=True, control=True, seed=2):
        assert parsers[station.room].parse_args(station.words).verb == station.words[0]


def test_stations_have_names_and_words_of_their_own() -> None:
    walked = walk(control=True)
    assert len({station.name for station in walked}) == len(walked)
    assert len({tuple(station.words) for station in walked}) == len(walked)


def test_the_walk_begins_with_the_release_and_ends_with_the_cards() -> None:
    names = [station.name for station in walk()]
    assert names[:8] == ["mini", "check", "shortcuts", "build", "stats", "leaks", "croissant", "base"]
    assert names[-2:] == ["report", "cards"]


@pytest.mark.parametrize("arm", ["contrast", "mirage", "refusal"])
def test_an_arm_is_trained_before_it_is_asked_and_judged_before_it_is_scored(arm: str) -> None:
    names = [station.name for station in walk()]
    wanted = [f"sft {arm}", f"generate {arm}", f"judge {arm} mini_rules", f"judge {arm} minilm", f"ability {arm}"]
    wanted += [f"agree {arm}", f"score {arm}"]
    places = [names.index(name) for name in wanted]
    assert places == sorted(places)


@pytest.mark.parametrize("smoke", [True, False])
def test_what_a_station_reads_was_written_before_it_in_its_lane_or_in_an_earlier_stage(smoke: bool) -> None:
    written: set[str] = set()
    for lanes in stages(RUN, 0, smoke=smoke, long=False, control=True, training=(1,)):
        begun = set(written)
        for lane in lanes:
            known = set(begun)
            for station in lane:
                used = {word for word in station.words if word.startswith(f"{RUN}/")}
                made = {word for word in used if not any(word == one or word.startswith(f"{one}/") for one in known)}
                # A station writes one new path, under which others may read; all else has to be there.
                assert len(made) <= 1, (station.name, made)
                known |= made
            written |= known


def test_lanes_of_one_stage_write_nothing_in_common() -> None:
    for lanes in stages(RUN, 0, smoke=False, long=False, control=True, training=(1, 2)):
        names = [station.name for lane in lanes for station in lane]
        assert len(set(names)) == len(names)
        if len(lanes) > 1:
            folders = [{arm_of(station) for station in lane} for lane in lanes]
            assert sum(map(len, folders)) == len(set().union(*folders))


def arm_of(station: Station) -> str:
    """What a station writes below the run, to the depth at which lanes part."""
    target = {"sft": 3, "generate": 3, "judge": 2, "ability": 2, "agree": 3, "score": 2}[station.words[0]]
    return "/".join(Path(station.words[target]).relative_to(RUN).parts[:3])


def test_what_only_several_seeds_have_is_walked_after_the_rest_and_not_counted_as_the_time_of_one() -> None:
    own = {station.name for station in walk()}
    names = [
        [station.name for lane in lanes for station in lane]
        for lanes in stages(RUN, 0, smoke=False, long=False, control=True, training=(1, 2))
    ]
    assert {one.station for one in of_one_seed([Attempt(name, 0.0) for part in names for name in part])} == own
    assert of_one_seed([Attempt("seeds", 0.0)]) == []
    assert [len(own.intersection(part)) for part in names if not own.issuperset(part)] == [0, 0]
    assert {"report", "cards"} == set(names[-1])


def test_the_control_arm_is_walked_with_several_seeds_only() -> None:
    assert "sft shuffled" in [station.name for station in walk(control=True)]
    assert "sft shuffled" not in [station.name for station in walk()]


def test_smoke_leaves_out_what_few_rows_cannot_show() -> None:
    left_out = {station.name for station in walk()} - {station.name for station in walk(smoke=True)}
    assert {name.split()[0] for name in left_out} == {"shortcuts", "generate", "judge"}
    assert all(name == "shortcuts" or "dose" in name for name in left_out)


def test_long_trains_every_arm_for_two_epochs() -> None:
    trained = [station.words for station in walk(long=True) if station.words[0] == "sft"]
    assert [words[words.index("--epochs") + 1] for words in trained] == ["2", "2", "2"]
    assert not any("--epochs" in station.words for station in walk())


def seed_of(station: Station) -> str | None:
    return station.words[station.words.index("--seed") + 1] if "--seed" in station.words else None


def test_the_data_seed_reaches_the_release_and_the_training_seed_the_arms_beside_contrast() -> None:
    seeds = {station.name: seed_of(station) for station in walk(seed=7, training=(1, 2))}
    assert {name for name, seed in seeds.items() if seed == "7"} == {"mini"}
    assert {name: seed for name, seed in seeds.items() if name.startswith("sft")} == {
        "sft contrast": "0",
        "sft mirage": "0",
        "sft refusal": "0",
        "sft contrast_training1": "1",
        "sft contrast_training2": "2",
    }
    assert seeds["base"] is None
    words = {station.name: station.words for station in walk(training=(1,))}
    assert words["sft contrast_training1"][5] == words["sft contrast"][5]  # the recipe


def test_seeds_are_different_numbers_in_any_order() -> None:
    assert make_parser().parse_args(["reproduce", "RUN", "--seeds", "2,0,1"]).seeds == (0, 1, 2)
    for wrong in ("a", "0,0", "-1,0", ""):
        with pytest.raises(SystemExit):
            make_parser().parse_args(["reproduce", "RUN", f"--seeds={wrong}"])


def test_a_station_that_fails_stops_the_walk_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "mine.txt").write_text("not a release")
    code, line, error = attempt("reproduce", tmp_path, "--smoke")
    assert (code, line) == (1, "")
    last = error.splitlines()[-1]
    assert last.startswith("reproduce: station 'mini' failed with exit code 2;")
    assert last.endswith(f"python -m mis_dataset mini {tmp_path / 'raw'} --seed 0 --smoke")
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "stations.jsonl"}
    (line,) = (tmp_path / "stations.jsonl").read_text("utf-8").splitlines()
    assert (json.loads(line)["station"], json.loads(line)["exit"]) == ("mini", 2)


def test_a_second_walk_of_the_same_folder_is_refused(tmp_path: Path) -> None:
    with alone(tmp_path / "run", "x"):
        code, _, said = attempt("reproduce", tmp_path / "run", "--smoke")
    assert (code, said) == (
        2,
        f"reproduce: {tmp_path / 'run'}: another process works there; wait for it or name another folder\n",
    )


def test_a_station_that_was_interrupted_interrupts_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mis_dataset.__main__._VERBS", {"mini": interrupt})
    code, _, said = attempt("reproduce", tmp_path / "run", "--smoke")
    assert code == 130
    assert said.endswith("reproduce: interrupted; run it again to go on\n")


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text(json.dumps({}))
    code, line, error = attempt("reproduce", tmp_path / "run", "--smoke")
    assert (code, line) == (1, "")
    assert error.count("\n") == 1
    assert f"{tmp_path / 'run'}" in error
