"""Logs: one line per fact, readable on a terminal, JSON where a program reads them.

What is the same as a line just written is not written again but counted, in a line of its own when
its time is over and in a metric. Level and form can change at any time (``use_log``).
"""

import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

FIELDS: Final = ("camera", "sighting", "repeats")
"""What ``extra`` may add to a line."""
WINDOW_S: Final = 30.0
"""For so long the same line is only counted."""
MOST_ALIKE: Final = 20
"""So many warnings that differ only in what is put into them are written within that time."""


class TextFormatter(logging.Formatter):
    """A line for people: time, level, process, camera, message."""

    def __init__(self, process: str) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(about)s: %(message)s", "%H:%M:%S")
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        camera = str(getattr(record, "camera", ""))
        is_told = not camera or self.process.endswith(f"-{camera}")
        record.about = self.process if is_told else f"{self.process} {camera}"
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, process, module, message and what ``extra`` adds."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self.process,
            "module": record.name,
            "message": record.getMessage(),
        }
        line |= {key: record.__dict__[key] for key in FIELDS if key in record.__dict__}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Window:
    """What was written, and what was only counted, of lines that are alike."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.texts: set[str] = set()
        self.held = 0
        self.last: logging.LogRecord | None = None
        """The last one that was only counted."""


class Repeats(logging.Filter):
    """Lets the first of the same lines pass and counts the others; debug lines all pass."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        super().__init__()
        self._window_s = window_s
        self._windows: dict[tuple[Any, ...], _Window] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.count: Callable[[], None] = lambda: None
        """Called for every line that is only counted, by one thread at a time."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is to be written."""
        if not logging.INFO <= record.levelno < logging.CRITICAL or hasattr(record, "repeats"):
            return True
        text, now = record.getMessage(), time.monotonic()
        key = (record.name, record.levelno, str(record.msg), getattr(record, "camera", ""))
        with self._lock:
            window = self._windows.get(key)
            if window is None or (now >= window.ends and not window.held):
                window = self._windows[key] = _Window(now + self._window_s)
            most = MOST_ALIKE if record.levelno >= logging.WARNING else math.inf
            if text not in window.texts and len(window.texts) < most:
                window.texts.add(text)
                return True
            window.held += 1
            window.last = record
            self.count()
            if self._timer is None:
                self._start_timer(window.ends - now)
        return False

    def _start_timer(self, wait_s: float) -> None:
        self._timer = threading.Timer(max(0.0, wait_s), self.tell)
        self._timer.daemon = True
        self._timer.start()

    def tell(self, *, everything: bool = False) -> None:
        """Write how many were only counted, of the windows that are over, or of all."""
        now = time.monotonic()
        with self._lock:
            over = [key for key, each in self._windows.items() if everything or now >= each.ends]
            windows = [self._windows.pop(key) for key in over]
            left = [each.ends for each in self._windows.values() if each.held]
            self._timer = None
            if left:
                self._start_timer(min(left) - now)
        for window in windows:
            if window.last is not None:
                _tell_of(window.last, window.held, self._window_s + now - window.ends)


def _tell_of(record: logging.LogRecord, number: int, seconds: float) -> None:
    """Write that a line came so many times more."""
    words = "%d more of the same in the last %.0f s: %s"
    told = {"msg": words, "args": (number, seconds, record.getMessage()), "repeats": number}
    without = {"exc_info": None, "exc_text": None, "stack_info": None}
    again = logging.makeLogRecord(record.__dict__ | told | without | _times())
    logging.getLogger(record.name).handle(again)


def _times() -> dict[str, float]:
    now = time.time()
    return {"created": now, "msecs": now % 1 * 1_000}


class _Camera(logging.Filter):
    """Puts the camera of a process that has one into its lines."""

    def __init__(self, camera: str) -> None:
        super().__init__()
        self._camera = camera

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "camera"):
            record.camera = self._camera
        return True


def _formatter(section: Mapping[str, str], process: str) -> TextFormatter | JsonFormatter:
    form = section["format"]
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    return JsonFormatter(process) if form == "json" else TextFormatter(process)


def set_up_logging(section: Mapping[str, str], process: str) -> None:
    """Send this process's log to standard error in the form and from the level of ``[log]``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(section, process))
    handler.addFilter(Repeats())
    logging.basicConfig(handlers=[handler], level=section["level"].upper(), force=True)


def use_log(section: Mapping[str, str]) -> None:
    """Log in another form and from another level from now on."""
    root = logging.getLogger()
    root.setLevel(section["level"].upper())
    for handler in root.handlers:
        before = handler.formatter
        if isinstance(before, TextFormatter | JsonFormatter):
            handler.setFormatter(_formatter(section, before.process))


def log_camera(camera: str) -> None:
    """Say in every line that it is about this camera."""
    for handler in logging.getLogger().handlers:
        handler.filters.insert(0, _Camera(camera))


def count_repeats(count: Callable[[], None]) -> None:
    """Have every line counted that is not written because it is the same as one before."""
    for repeats in _repeats():
        repeats.count = count


def tell_repeats() -> None:
    """Write now what was only counted: the process ends."""
    for repeats in _repeats():
        repeats.tell(everything=True)


def _repeats() -> list[Repeats]:
    filters = [each for handler in logging.getLogger().handlers for each in handler.filters]
    return [each for each in filters if isinstance(each, Repeats)]
