"""Logs: one line per fact, readable on a terminal, JSON where a program reads them."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, process, module, message and what ``extra`` adds."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "module": record.name,
            "message": record.getMessage(),
        }
        line |= {
            key: record.__dict__[key] for key in ("camera", "sighting") if key in record.__dict__
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(section: dict[str, str], process: str) -> None:
    """Send this process's log to standard error in the form and from the level of ``[log]``."""
    form = section["format"]
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        line = f"%(asctime)s %(levelname)-7s {process}: %(message)s"
        handler.setFormatter(logging.Formatter(line, "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=section["level"].upper(), force=True)
