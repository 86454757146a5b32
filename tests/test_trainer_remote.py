"""Flags about a model behind an API: what they say, what of it a sidecar holds, what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mis_dataset.errors import UsageError
from mis_dataset.remote.messages import Reply, Request
from mis_dataset.remote.settings import Budget, Prices, Settings
from tests.loopback_api import KEY, LoopbackApi
from trainer.remote import Remote, add_arguments, remote_of

OUT = Path("runs") / "verdicts.jsonl"


def remote(*words: str, prefix: str = "") -> Remote:
    parser = argparse.ArgumentParser()
    add_arguments(parser, prefix)
    return remote_of(parser.parse_args(words), "a-model", "1-a", 300, OUT, prefix)


def test_without_flags_the_settings_are_those_of_the_client_and_the_cache_lies_beside_the_file() -> None:
    expected = Settings("a-model", "1-a", max_tokens=300)
    assert remote() == remote(prefix="judge-") == Remote(expected, Path("runs") / "verdicts.jsonl.replies.sqlite")


def test_every_flag_reaches_the_client() -> None:
    flags = "--judge-base-url http://127.0.0.1:1/v1 --judge-key-name A_KEY --judge-in-flight 3 --judge-max-side 64"
    flags += " --judge-timeout 2.5 --judge-attempts 2 --judge-max-tokens-name max_completion_tokens"
    flags += " --judge-no-temperature --judge-no-seed --judge-max-calls 9 --judge-max-all-tokens 8 --judge-max-cost 0.5"
    flags += " --judge-price-in 1 --judge-price-out 2 --judge-cache kept.sqlite"
    assert remote(*flags.split(), prefix="judge-") == Remote(
        Settings(
            "a-model",
            "1-a",
            base_url="http://127.0.0.1:1/v1",
            key_name="A_KEY",
            in_flight=3,
            timeout=2.5,
            attempts=2,
            max_tokens=300,
            max_tokens_name="max_completion_tokens",
            temperature=None,
            seed=None,
            image_max_side=64,
            budget=Budget(9, 8, 0.5),
            prices=Prices(1.0, 2.0),
        ),
        Path("kept.sqlite"),
    )


def test_a_sidecar_holds_what_can_change_a_row_and_nothing_else() -> None:
    recorded = remote().recorded()
    assert recorded == {
        "model": "a-model",
        "base_url": "https://api.openai.com/v1",
        "version": "1-a",
        "image_max_side": None,
        "prices": None,
        "max_tokens": 300,
        "temperature": 0.0,
        "seed": 0,
    }
    for flag in ("--in-flight", "--timeout", "--attempts", "--max-calls", "--max-all-tokens"):
        assert remote(flag, "7").recorded() == recorded
    for flags in (
        ("--base-url", "http://127.0.0.1:1/v1"),
        ("--max-side", "7"),
        ("--no-seed",),
        ("--no-temperature",),
        ("--max-tokens-name", "max_completion_tokens"),
        ("--price-in", "1", "--price-out", "1"),
    ):
        assert remote(*flags).recorded() != recorded
    assert remote("--base-url", "https://api.openai.com/v1/").recorded() == recorded


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--price-in 1", "--price-in and --price-out are given together, or neither"),
        ("--price-in 1 --price-out -1", "prices: "),
        ("--max-cost 1", "budget: a limit of money needs prices"),
        ("--base-url http://me:secret@127.0.0.1/v1", "base_url: is no address http(s)://HOST/PATH without a password"),
        ("--key-name=", "key_name: is empty"),
    ],
)
def test_what_cannot_be_meant_is_wrong_use(flags: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        remote(*flags.split())
    assert str(caught.value).startswith(says)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("flags", ["--in-flight 0", "--timeout 0", "--timeout inf", "--max-cost nan", "--attempts x"])
def test_a_number_out_of_range_is_refused_by_its_flag(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        remote(*flags.split())
    assert end.value.code == 2
    assert f"argument {flags.split()[0]}: " in capsys.readouterr().err


def test_it_asks_and_tells_what_that_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackApi().running() as api:
        flags = (
            "--base-url",
            api.url,
            "--price-in",
            "2",
            "--price-out",
            "10",
            "--cache",
            str(tmp_path / "kept.sqlite"),
        )
        asked = remote(*flags)
        assert asked.used() == {"calls": 0, "tokens": 0, "cost": 0.0}
        [(id_, told)] = asked.ask([Request("a/1", ("hello",))])
    assert isinstance(told, Reply)
    assert (id_, told.text) == ("a/1", "about hello")
    assert asked.used() == {"calls": 1, "tokens": 15, "cost": pytest.approx(7e-5)}
    assert remote().used()["cost"] is None
