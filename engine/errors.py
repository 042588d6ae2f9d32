"""Every error of ours, one sentence each.

::

    PlateringError
    ├── ConfigError            a setting is wrong; names its key path        (exit code 2)
    ├── PreflightError         the machine lacks something the setting needs (exit code 2)
    ├── SourceError            a camera, stream or file cannot be read
    │   ├── SourceUnsupportedError   nobody here reads this kind of URL or file
    │   └── SourceDeniedError        a camera refuses the name and password
    ├── RecognizerError        a recognizer cannot start or failed on a frame
    ├── RingError              a shared segment is not what its handle says
    ├── ControlError           the supervisor refused or could not do what was asked
    │   └── EngineAwayError          nobody answers there
    ├── PayloadError           an ingested body is malformed; names the field
    ├── CorrectionError        a sighting cannot be corrected as asked
    └── SinkError              a sink could not take sightings now; they stay spooled
        └── PublisherAwayError       no publisher is there, nor will one be: no engine runs

Expected outcomes (a full ring, no plate, a lost camera) are counted values, never exceptions.
"""

from typing import Final

EXIT_CONFIG: Final = 2
"""Exit code of a process whose configuration is wrong: restarting it would not help."""

EXIT_FAILED: Final = 1
"""Exit code of a process that met an error it did not expect."""


class PlateringError(Exception):
    """An error of ours; its text says what happened and what to do."""


class ConfigError(PlateringError):
    """A setting is wrong."""

    def __init__(self, key: str, problem: str, remedy: str = "") -> None:
        """Name the key path (``cameras[1].url``), the problem and the remedy."""
        super().__init__(f"{key}: {problem}" + (f" — {remedy}" if remedy else ""))
        self.key = key


class PreflightError(PlateringError):
    """The machine lacks something that the configuration needs."""


class SourceError(PlateringError):
    """A camera, stream or file cannot be read."""


class SourceUnsupportedError(SourceError):
    """Nobody here reads this kind of URL or file."""


class SourceDeniedError(SourceError):
    """A camera refuses the name and password; asking often may lock the account."""


class RecognizerError(PlateringError):
    """A recognizer cannot start, or failed on a frame."""


class RingError(PlateringError):
    """A shared segment is not what its handle says."""


class ControlError(PlateringError):
    """The supervisor refused what was asked, or could not do it."""


class EngineAwayError(ControlError):
    """No supervisor answers at the control socket."""


class PayloadError(PlateringError):
    """An ingested body is malformed."""

    def __init__(self, field: str, problem: str) -> None:
        """Name the field (``results[0].plate``) and the problem."""
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class CorrectionError(PlateringError):
    """A sighting cannot be corrected as asked."""


class SinkError(PlateringError):
    """A sink could not take sightings now; they stay spooled."""


class PublisherAwayError(SinkError):
    """Nobody listens for a publisher: no engine runs here."""
