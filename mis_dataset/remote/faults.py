"""What went wrong with one try of a request, and whether another try can go better."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from mis_dataset.errors import RemoteError
from mis_dataset.remote.messages import Reply
from mis_dataset.remote.replies import error_code
from mis_dataset.remote.settings import Settings

_AGAIN = (408, 409, 429)
_FILTERED = ("content_filter", "content_policy_violation", "moderation_blocked")
"""Source: the codes of Azure's endpoints for texts, and of OpenAI's for pictures, older and newer models."""
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value")
"""Source: the codes with which OpenAI's models that reason refuse max_tokens and a temperature."""
_OTHERWISE = {
    "max_tokens": "name it max_completion_tokens",
    "max_completion_tokens": "name it max_tokens",
    "temperature": "send none",
    "seed": "send none",
}


class Fault(NamedTuple):
    """A try that brought no reply.

    Attributes:
        reason: in our words.
        again: whether another try can go better.
        wait: seconds that the endpoint asks to wait before one.
        counted: whether the endpoint may count tokens for it nevertheless.
        unreachable: whether no connection came about.
    """

    reason: str
    again: bool = True
    wait: float = 0.0
    counted: bool = False
    unreachable: bool = False


def status_fault(status: int, headers: Mapping[str, str], body: bytes, settings: Settings) -> Reply | Fault:
    """Judges an HTTP status other than 2xx.

    Args:
        status: 300 to 599.
        headers: by lower-case names.
        body: as much of it as was read.
        settings: of the run.

    Returns:
        A fault; or a reply without a text, where a filter refused the prompt.

    Raises:
        RemoteError: Every further request would fail the same.
    """
    code = error_code(body)
    if status == 400 and code in _FILTERED:
        return Reply("", "content_filter", 0, 0)
    why = _why_stop(status, code, settings)
    setting = error_code(body, "param")
    if status == 400 and code in _UNSUPPORTED and setting in _OTHERWISE:
        why = f"the model {settings.model!r} does not take {setting} as it is sent; {_OTHERWISE[setting]}"
    if why:
        raise RemoteError(f"{settings.base_url}: {why} (HTTP {status})")
    return Fault(f"HTTP {status}", status in _AGAIN or status >= 500, wait_asked(headers))


def wait_asked(headers: Mapping[str, str]) -> float:
    """Seconds that an endpoint asks to wait, by `Retry-After`.

    Args:
        headers: by lower-case names.

    Returns:
        Seconds from now; 0 where it does not ask. A date is taken against the endpoint's own clock where it tells it.

    Source: RFC 9110, section 10.2.3.
    """
    asked = headers.get("retry-after", "").strip()
    try:
        seconds = float(asked)
    except ValueError:
        until = _seconds(asked)
        now = _seconds(headers.get("date", ""))
        seconds = until - (time.time() if math.isnan(now) else now)
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _seconds(date: str) -> float:
    """A date of HTTP in seconds since 1970; NaN where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _why_stop(status: int, code: str, settings: Settings) -> str:
    """Why no further request is of use, and what to do; empty where one may be."""
    key = f"the key in {settings.key_name}"
    if status == 401:
        return f"does not accept {key}; put a valid one there"
    if status == 403:
        return f"does not let {key} use the model {settings.model!r}; ask for access or name another"
    if status == 404:
        return f"is no such endpoint, or has no model {settings.model!r}; correct the address or the name"
    if status < 400:
        return "sends elsewhere; name the address it leads to"
    if status == 429 and code == "insufficient_quota":
        return f"has no credit left for {key}; pay it up"
    return ""
