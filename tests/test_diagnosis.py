"""What is wrong, told by kind."""

from __future__ import annotations

from trainer.preflight.diagnosis import KINDS, Fault, counts, summarize, table

FAULTS = [
    Fault("alike", "train/1", "has the completion of 5 other rows"),
    Fault("control", "train/7", "has the control token \x1b in its prompt"),
    Fault("control", "train/2", "has the control token <b> in its prompt"),
    Fault("control", "train/7", "has the control token <a> in its completion"),
    Fault("disk", None, "9.0 GB are written"),
]


def test_errors_come_first_and_name_every_row_once() -> None:
    told = summarize(FAULTS)
    assert [(one["kind"], one["error"], one["rows"], one["ids"]) for one in told] == [
        ("control", True, 2, ["train/7", "train/2"]),
        ("alike", False, 1, ["train/1"]),
        ("disk", False, 0, []),
    ]
    assert (counts(told, error=True), counts(told, error=False)) == ({"control": 2}, {"alike": 1, "disk": 1})


def test_the_table_says_what_was_found_and_what_to_do() -> None:
    lines = table(summarize(FAULTS)).splitlines()
    who = "2 rows (train/7, train/2), the first"
    assert lines[0] == rf"error   control         {who} has the control token \x1b in its prompt"
    assert lines[1].endswith(f"-> {KINDS['control'].remedy}")
    assert lines[4] == "warning disk            9.0 GB are written"
    assert table([]) == "nothing is wrong"
    many = summarize(Fault("id", f"train/{number}", "is the id of 2 rows") for number in range(9))
    assert "9 rows (train/0, train/1, train/2, train/3, train/4, ...), the first is" in table(many)
