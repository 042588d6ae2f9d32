"""Waiting in tests: poll with a deadline, never a bare sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

_NAP_S = 0.02


def wait_until(predicate: Callable[[], T], deadline_s: float = 5.0, what: str = "") -> T:
    """Return the first true value of ``predicate()``; fail the test after ``deadline_s``."""
    end = time.monotonic() + deadline_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            pytest.fail(f"not within {deadline_s} s: {what or predicate} (last value {value!r})")
        time.sleep(_NAP_S)
