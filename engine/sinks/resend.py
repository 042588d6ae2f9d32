"""Sends dead letters again, in a process of its own, beside a running engine or without one."""

from engine.deadletters import Letter
from engine.errors import SinkError
from engine.sink_settings import SinksSettings
from engine.sinks.webhooks import Target


class Resender:
    """Connections to the webhooks of the configuration, made when they are needed."""

    def __init__(self, sinks: SinksSettings) -> None:
        self._webhooks = {webhook.name: webhook for webhook in sinks.webhooks}
        self._targets: dict[str, Target] = {}

    def send(self, letter: Letter) -> None:
        """Send a letter again.

        Raises:
            SinkError: it was not delivered, or there is no such webhook any longer.
        """
        name = letter.target
        if name not in self._targets:
            if name not in self._webhooks:
                raise SinkError("no webhook of this name is configured")
            self._targets[name] = Target(self._webhooks[name])
        self._targets[name].post(letter.event)

    def close(self) -> None:
        """Close the connections."""
        for target in self._targets.values():
            target.close()
