"""Which process logs from which level on: orders for all, for some, for one, and none any more."""

import json
import logging
from types import SimpleNamespace

import pytest

from engine.config import LogSettings
from engine.errors import ControlError
from engine.log_levels import LogLevels

NAMES = ("publisher", "worker-0", "worker-1", "decoder-gate")


class Child:
    def __init__(self, name: str) -> None:
        self.name, self.level = name, ""

    def send(self, message) -> None:
        self.level = json.loads(message.log)["level"]


@pytest.fixture
def children():
    return [Child(name) for name in NAMES]


@pytest.fixture
def levels(children):
    root = logging.getLogger()
    before = root.level
    settings = SimpleNamespace(log=LogSettings(level="info"))
    yield LogLevels(SimpleNamespace(settings=settings, children=children))
    root.setLevel(before)


def told(children) -> list[str]:
    return [child.level for child in children]


def test_the_longest_beginning_counts_and_later_orders_go_before_earlier_ones(levels, children):
    assert levels.order("warning") == ("supervisor", *NAMES)
    assert levels.order("debug", "worker") == ("worker-0", "worker-1")
    assert levels.order("error", "worker-1") == ("worker-1",)
    assert told(children) == ["warning", "debug", "error", "warning"]
    assert json.loads(levels.section_of("worker-7"))["level"] == "debug", "of one to come, too"
    levels.order("info")
    assert told(children) == ["info"] * 4


def test_default_is_what_is_configured_whatever_is_ordered_for_the_others(levels, children):
    levels.order("debug")
    assert levels.order("default", "worker-0") == ("worker-0",)
    assert told(children) == ["debug", "info", "debug", "debug"]
    levels.order("default")
    assert told(children) == ["info"] * 4


def test_what_is_configured_anew_goes_before_orders(levels, children):
    levels.order("debug")
    levels.go_by(LogSettings(level="info"))
    assert told(children) == ["debug"] * 4, "nothing is new there"
    levels.go_by(LogSettings(level="error"))
    assert told(children) == ["error"] * 4


def test_there_is_no_such_level_or_process(levels):
    with pytest.raises(ControlError, match="one of debug, info"):
        levels.order("loud")
    with pytest.raises(ControlError, match="no process 'work'; there are supervisor, publisher, "):
        levels.order("debug", "work")
