"""Lines of the log: their form, their fields, and what becomes of those that say the same again."""

import io
import json
import logging

import pytest
from polling import wait_until

from engine.logs import JsonFormatter, Repeats, TextFormatter


@pytest.fixture
def log():
    """A logger of its own, which writes JSON into ``log.lines``; windows of 0.2 s."""
    logger = logging.getLogger("test_logs")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("worker-0"))
    repeats = Repeats(window_s=0.2)
    handler.addFilter(repeats)
    logger.addHandler(handler)
    logger.propagate, logger.level = False, logging.DEBUG
    logger.repeats = repeats
    logger.lines = lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    yield logger
    repeats.tell(everything=True)
    logger.removeHandler(handler)


def messages(log) -> list[str]:
    return [line["message"] for line in log.lines()]


def test_the_first_is_written_and_the_others_are_counted(log):
    counted = []
    log.repeats.count = lambda: counted.append(1)
    for _ in range(5):
        log.warning("away: %s", "refused", extra={"camera": "gate"})
    log.warning("away: %s", "refused", extra={"camera": "yard"})
    assert messages(log) == ["away: refused"] * 2
    assert len(counted) == 4
    wait_until(lambda: len(log.lines()) == 3, 5.0, "the count is told though nothing else comes")
    told = log.lines()[2]
    assert told["message"] == "4 more of the same in the last 0 s: away: refused"
    assert (told["repeats"], told["camera"], told["level"]) == (4, "gate", "warning")
    log.warning("away: %s", "refused", extra={"camera": "gate"})
    assert messages(log)[3:] == ["away: refused"], "its time is over: it is a first one again"


def test_warnings_that_differ_in_their_values_are_written_up_to_a_bound(log):
    for number in range(50):
        log.error("took %d ms", number)
    assert messages(log) == [f"took {number} ms" for number in range(20)]
    for number in range(50):
        log.info("counted %d", number)
    assert messages(log)[20:] == [f"counted {number}" for number in range(50)]
    log.repeats.tell(everything=True)
    assert messages(log)[70:] == ["30 more of the same in the last 0 s: took 49 ms"]


def test_debug_and_critical_lines_are_all_written(log):
    for _ in range(3):
        log.debug("turn")
        log.critical("the end")
    assert messages(log) == ["turn", "the end"] * 3


def test_a_traceback_is_written_once(log):
    for _ in range(2):
        try:
            int("odd")
        except ValueError:
            log.exception("unexpected")
    log.repeats.tell(everything=True)
    first, count = log.lines()
    assert "ValueError: invalid" in first["traceback"]
    assert "traceback" not in count


@pytest.mark.parametrize(
    ("process", "camera", "about"),
    [
        ("worker-0", "gate", "worker-0 gate"),
        ("decoder-gate", "gate", "decoder-gate"),
        ("api-0", "", "api-0"),
    ],
)
def test_text_names_the_process_and_the_camera_once(process, camera, about):
    record = logging.makeLogRecord({"msg": "live", "levelname": "INFO"})
    if camera:
        record.camera = camera
    assert TextFormatter(process).format(record)[8:] == f" INFO    {about}: live"
