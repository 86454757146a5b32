"""How long an endpoint asks to wait, and what it does not take. Each status: test_client_faults.py."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from mis_dataset.errors import RemoteError
from mis_dataset.remote.faults import Fault, status_fault, wait_asked
from mis_dataset.remote.settings import Settings

SETTINGS = Settings("a-model", "1-a")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "Sun, 09 Sep 2001 01:47:40 GMT", "date": "Sun, 09 Sep 2001 01:46:40 GMT"}, 60),
        ({"retry-after": "Sun, 09 Sep 2001 01:45:40 GMT", "date": "Sun, 09 Sep 2001 01:46:40 GMT"}, 0),
        ({"retry-after": "Sun, 09 Sep 2001 01:47:40 GMT"}, 0),
    ],
)
def test_a_wait_is_read_in_both_forms_and_nonsense_is_none(headers: dict[str, str], seconds: float) -> None:
    assert wait_asked(headers) == seconds


def test_a_date_without_one_of_the_endpoint_is_taken_against_our_clock() -> None:
    assert 58 < wait_asked({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60


def refusal(code: str, setting: str | None) -> bytes:
    return json.dumps({"error": {"code": code, "param": setting, "message": "in its own words"}}).encode()


@pytest.mark.parametrize(
    ("code", "setting", "says"),
    [
        ("unsupported_parameter", "max_tokens", "max_tokens as it is sent; name it max_completion_tokens (HTTP 400)"),
        ("unsupported_value", "temperature", "temperature as it is sent; send none (HTTP 400)"),
    ],
)
def test_a_setting_that_a_model_does_not_take_ends_the_run_at_once(code: str, setting: str, says: str) -> None:
    with pytest.raises(RemoteError) as caught:
        status_fault(400, {}, refusal(code, setting), SETTINGS)
    assert str(caught.value) == f"{SETTINGS.base_url}: the model 'a-model' does not take {says}"


@pytest.mark.parametrize(
    ("code", "setting"), [("unsupported_value", "messages"), ("unsupported_value", None), ("other", "temperature")]
)
def test_any_other_400_is_about_one_request(code: str, setting: str | None) -> None:
    assert status_fault(400, {}, refusal(code, setting), SETTINGS) == Fault("HTTP 400", again=False)
