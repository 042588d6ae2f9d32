"""How much each process logs: as configured, or as it was ordered to while the run goes on."""

from typing import Final

from engine.config import LogSettings
from engine.errors import ControlError
from engine.logs import use_log
from engine.messages import UseLog
from engine.process import log_section
from engine.roster import Roster

DEFAULT: Final = "default"
"""As configured."""
LEVELS: Final = ("debug", "info", "warning", "error", DEFAULT)
"""What can be ordered."""
SUPERVISOR: Final = "supervisor"


class LogLevels:
    """Tells every process how to log, those that are to come, too."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._settings = roster.settings.log
        self._ordered: dict[str, str] = {}
        """Levels by the name of a process or its beginning; empty: all processes."""

    def section_of(self, process: str) -> bytes:
        """Return what ``Start.log`` of a process is."""
        return log_section(self._of(process))

    def order(self, level: str, process: str = "") -> tuple[str, ...]:
        """Have processes log from a level on, all whose names begin so; return their names.

        Raises:
            ControlError: there is no such level or process.
        """
        if level not in LEVELS:
            raise ControlError(f"log-level: one of {', '.join(LEVELS)}, not {level!r}")
        names = [SUPERVISOR, *(child.name for child in self._roster.children)]
        meant = tuple(name for name in names if _begins(name, process))
        if not meant:
            raise ControlError(f"no process {process!r}; there are {', '.join(names)}")
        self._ordered = {
            name: told for name, told in self._ordered.items() if not _begins(name, process)
        }
        if level != DEFAULT or any(_begins(process, name) for name in self._ordered):
            self._ordered[process] = level
        self._tell()
        return meant

    def go_by(self, settings: LogSettings) -> None:
        """Log as configured from now on; what the file says anew goes before earlier orders."""
        if settings != self._settings:
            self._settings = settings
            self._ordered.clear()
            self._tell()

    def _of(self, process: str) -> LogSettings:
        matching = [name for name in self._ordered if _begins(process, name)]
        if not matching:
            return self._settings
        level = self._ordered[max(matching, key=len)]
        return self._settings.model_copy(update={} if level == DEFAULT else {"level": level})

    def _tell(self) -> None:
        use_log(self._of(SUPERVISOR).model_dump())
        for child in self._roster.children:
            child.send(UseLog(log=self.section_of(child.name)))


def _begins(name: str, beginning: str) -> bool:
    """Tell whether a name is another one, or begins with its words: ``decoder-gate``, decoder."""
    return not beginning or name == beginning or name.startswith(f"{beginning}-")
