"""Traces of a real engine at a real receiver: whole, in order, without plates, never in the way."""

import itertools
import time
from uuid import UUID

import pytest
from engine_run import demo, events_of, running
from polling import wait_until
from trace_receiver import TraceReceiver

WAY = ["slot", "wait", "recognize", "track", "announce", "store", "deliver"]


@pytest.fixture
def receiver():
    one = TraceReceiver()
    yield one
    one.close()


def whole(receiver: TraceReceiver) -> list[str]:
    """Return the ids of traces that have every step and the one around them."""
    traces = dict(receiver.traces)
    return [key for key, spans in traces.items() if {s.name for s in spans} == {"sighting", *WAY}]


def test_a_sighting_is_one_trace_and_an_absent_receiver_stops_nothing(tmp_path, receiver):
    traces = f'[traces]\nendpoint = "{receiver.url}"\n[recognizers]\ncount = 1\n'
    with (
        running(tmp_path, demo(scene="&density=3&width=640&height=360", rest=traces)) as run,
        events_of(run) as events,
    ):
        wait_until(lambda: len(whole(receiver)) >= 2, 40.0, "two whole traces")
        sightings = {UUID(one.id).hex: one for _, one in events.taken}
        for key in whole(receiver):
            assert_whole(receiver.traces[key], sightings[key])
        assert {one["service.name"] for one in receiver.resources} == {"platering"}
        shown = str(receiver.traces)
        assert not [one.plate for one in sightings.values() if one.plate in shown]
        found = run.metrics()
        assert found["platering_trace_spans_sent_total{}"] >= 16
        assert found["platering_trace_spans_lost_total{}"] == 0

        before = len(events.finals())
        receiver.status = 503
        wait_until(
            lambda: run.metrics()["platering_trace_spans_lost_total{}"] > 0, 40.0, "they are lost"
        )
        assert len(events.finals()) > before, "sightings go on"
        assert "traces.endpoint does not take them" in run.said()
        assert "Traceback" not in run.said()
        assert run.stop() < 8.0


def assert_whole(spans, sighting) -> None:
    by_name = {span.name: span for span in spans}
    assert len(by_name) == len(spans) == len(WAY) + 1
    root = by_name["sighting"]
    assert not root.parent_span_id
    assert {span.parent_span_id for span in spans if span is not root} == {root.span_id}
    assert len({span.span_id for span in spans}) == len(spans)
    about = {one.key: one.value for one in root.attributes}
    assert about["platering.sighting"].string_value == sighting.id
    assert about["platering.camera"].string_value == "demo"
    steps = [by_name[name] for name in WAY[:-1]]
    assert root.start_time_unix_nano == steps[0].start_time_unix_nano
    assert root.end_time_unix_nano == steps[-1].end_time_unix_nano
    for one, following in itertools.pairwise(steps):
        assert one.start_time_unix_nano <= one.end_time_unix_nano
        assert one.end_time_unix_nano == following.start_time_unix_nano
    delivered_s = by_name["deliver"].end_time_unix_nano / 1e9
    captured_s = root.start_time_unix_nano / 1e9
    assert captured_s * 1e3 == pytest.approx(sighting.first_unix_ms, abs=5_000)
    assert 0 < delivered_s - captured_s < 10
    assert delivered_s == pytest.approx(time.time(), abs=60)
