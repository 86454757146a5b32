"""What a run says in words, of planted figures."""

from __future__ import annotations

from trainer.findings import ability_words, probe_words


def test_one_picture_is_held_to_its_bar_and_the_other_order_to_that_of_the_rows() -> None:
    pairs = {"rate": 0.3, "k": 48, "n": 160, "low": 0.23, "high": 0.38}
    above = {**pairs, "rate": 0.31}
    own = {"rate": 0.5, "k": 80, "n": 160, "low": 0.42, "high": 0.58}

    def hard(rate: dict[str, float]) -> dict[str, object]:
        return {"pair_accuracy": {"hard": rate}}

    def said(**probes: dict[str, float]) -> str:
        found = {name: hard(rate) for name, rate in probes.items()}
        return probe_words({"probes": found, "models": {"contrast": hard(own)}})

    alone = "hard is 30.0 % (48/160; 23.0–38.0): that is what one picture alone can decide, within the limit of 30 %."
    assert said(black=pairs).startswith("With the picture black that a row and its twin share")
    assert said(black=pairs).endswith(alone)
    assert said(black=above).endswith("one picture alone can decide, over the limit of 30 %.")
    assert said(text=above).endswith("on hard it is 31.0 % (48/160; 23.0–38.0).")
    assert said(named=above) == "Asked as in named, pair accuracy on hard is 31.0 % (48/160; 23.0–38.0)."
    order = "With the two pictures in the other order, which no row has, pair accuracy on hard is "
    in_order = "50.0 % (80/160; 42.0–58.0) in that of the rows: what it learnt hangs on the order."
    assert said(swapped=above) == f"{order}31.0 % (48/160; 23.0–38.0), and {in_order}"
    assert said(swapped={**above, "high": 0.43}) == f"{order}31.0 % (48/160; 23.0–43.0)."


def test_an_ability_is_kept_where_the_bar_of_contrast_holds() -> None:
    at = {"difference": 0.0, "low": -0.03, "high": 0.01, "n": 400}
    kinds = {"picture": at, "text": {**at, "low": -0.029}, "other": at}
    words = ability_words({"ability_minus_base": {"contrast": kinds}})
    assert "picture questions: not shown to be kept, +0.0 points" in words
    assert "text questions: kept, +0.0 points" in words
    assert "other questions: +0.0 points" in words
