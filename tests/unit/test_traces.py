"""Traces: which sightings have one, what its ids are, what is counted."""

import builtins
import logging
import random
import sys
import threading
import time
from uuid import UUID

import pytest
from polling import wait_until
from trace_receiver import TraceReceiver

from engine.board import Board, Count
from engine.config import parse_settings
from engine.errors import ConfigError
from engine.shm import RunLock
from engine.trace_settings import TracesSettings
from engine.traces import Step, open_traces
from engine.traces.spans import LAST_SPANS_S, MOST_WAITING, Spans, _is_chosen
from engine.tracker import SightingIds

_new_id = SightingIds("north", random.Random(0))
IDS = [_new_id(1_700_000_000_000_000_000 + number * 10**9) for number in range(60)]


@pytest.fixture
def row():
    lock = RunLock()
    board = Board.create(lock.name("board"), 1, 1)
    row = board.row(0)
    yield row
    row.release()
    board.close()
    lock.release()


@pytest.fixture
def receiver():
    one = TraceReceiver()
    yield one
    one.close()


def traces_of(receiver, row, process="publisher", share=1.0) -> Spans:
    settings = TracesSettings(endpoint=receiver.url, share=share)
    return Spans(settings, "north", process, row)


def test_processes_that_never_spoke_add_to_one_trace(receiver, row):
    first, second = traces_of(receiver, row), traces_of(receiver, row, "api-0")
    steps = Step("slot", 1_000, 2_000), Step("recognize", 2_000, 1_500)
    first.add(IDS[0], Step("sighting", 1_000, 3_000), steps, {"platering.camera": "gate"})
    second.add(IDS[0], None, (Step("deliver", 3_000, 4_000),), {})
    second.add("posted-7", None, (Step("deliver", 3_000, 4_000),), {})
    first.close()
    second.close()
    wait_until(lambda: len(receiver.traces[UUID(IDS[0]).hex]) == 4, 5.0, "all four")
    assert len(receiver.traces) == 1
    spans = {span.name: span for span in receiver.traces[UUID(IDS[0]).hex]}
    assert spans["sighting"].span_id == UUID(IDS[0]).bytes[8:]
    assert spans["deliver"].parent_span_id == spans["slot"].parent_span_id
    assert spans["deliver"].parent_span_id == spans["sighting"].span_id
    assert spans["recognize"].end_time_unix_nano == 2_000, "no step ends before it begins"
    assert {one["service.instance.id"] for one in receiver.resources} == {
        "north/publisher",
        "north/api-0",
    }
    assert row.total(Count.TRACE_SPANS) == row.total(Count.TRACE_SPANS_SENT) == 4


def test_no_line_of_the_log_shows_what_the_url_keeps_secret(receiver, row, caplog):
    with caplog.at_level(logging.DEBUG):
        for url in (receiver.url, "http://127.0.0.1:9/v1/traces"):
            settings = TracesSettings(endpoint=f"{url}?token=hunter2")
            traces = Spans(settings, "north", "publisher", row)
            traces.add(IDS[0], Step("sighting", 1, 2), (), {})
            traces.close()
        wait_until(lambda: row.total(Count.TRACE_SPANS_LOST) == 1, 10.0, "the second is lost")
    assert receiver.traces
    assert "traces are lost" in caplog.text
    assert "hunter2" not in caplog.text


def test_every_process_chooses_the_same_share(receiver, row):
    for process in ("publisher", "api-0"):
        traces = traces_of(receiver, row, process, share=0.5)
        for one in IDS:
            traces.add(one, None, (Step(process, 1, 2),), {})
        traces.close()
    wait_until(lambda: row.total(Count.TRACE_SPANS_SENT) >= 2, 5.0, "sent")
    assert 10 < len(receiver.traces) < 50
    assert all({s.name for s in spans} == {"publisher", "api-0"} for spans in
               receiver.traces.values())  # fmt: skip


@pytest.mark.parametrize("node", ["north", "south", "gate-1"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_the_share_is_one_of_every_node(node, share):
    new_id = SightingIds(node, random.Random(1))
    ids = [UUID(new_id(number * 10**9)).int for number in range(4_000)]
    assert sum(_is_chosen(one, share) for one in ids) / 4_000 == pytest.approx(share, abs=0.04)
    assert all(_is_chosen(one, 1.0) for one in ids)
    assert not any(_is_chosen(one, 0.0) for one in ids)


def test_what_is_made_while_too_many_wait_is_lost_and_counted(receiver, row):
    traces = traces_of(receiver, row)
    held = receiver.hold()
    made = MOST_WAITING + 100
    for number in range(made):
        traces.add(_new_id(number), Step("sighting", 1, 2), (), {})
    held.set()
    traces.close()
    wait_until(
        lambda: row.total(Count.TRACE_SPANS_SENT) + row.total(Count.TRACE_SPANS_LOST) == made,
        10.0,
        "every span is counted as sent or lost",
    )
    assert row.total(Count.TRACE_SPANS) == made
    assert row.total(Count.TRACE_SPANS_LOST) == 100


def test_a_receiver_that_never_answers_delays_nobody(row):
    with_nobody = TracesSettings(endpoint="http://127.0.0.1:9/v1/traces")
    traces = Spans(with_nobody, "north", "publisher", row)
    began = time.monotonic()
    for one in IDS:
        traces.add(one, Step("sighting", 1, 2), (), {})
    assert time.monotonic() - began < 1.0
    began = time.monotonic()
    traces.close()
    assert time.monotonic() - began < LAST_SPANS_S + 1.0
    wait_until(lambda: row.total(Count.TRACE_SPANS_LOST) == len(IDS), 10.0, "counted as lost")
    wait_until(lambda: "traces" not in {t.name for t in threading.enumerate()}, 10.0, "ended")


def test_off_they_need_no_library_and_on_the_extra_is_named(row, monkeypatch):
    monkeypatch.delitem(sys.modules, "engine.traces.spans")
    true_import = builtins.__import__

    def without(name, *rest):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for off in (TracesSettings(), TracesSettings(endpoint="http://localhost:1", share=0.0)):
        assert open_traces(off, "north", "publisher", row) is None
    with pytest.raises(ConfigError, match=r"traces\.endpoint.*platering\[traces\]"):
        open_traces(TracesSettings(endpoint="http://localhost:1"), "north", "publisher", row)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"endpoint": "localhost:4317"}, "traces.endpoint: must be a URL that begins with http"),
        ({"share": 1.5}, "traces.share: must be at most 1"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(table, said):
    with pytest.raises(ConfigError, match=said):
        parse_settings({"traces": table})
