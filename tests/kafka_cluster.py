"""librdkafka's mock cluster in a process of its own: real sockets, which can be stopped and go on.

Run as ``python kafka_cluster.py``: prints its brokers and lives until its input ends.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BROKERS = 3


@dataclass
class Cluster:
    """A running cluster."""

    servers: str
    process: subprocess.Popen[str]

    def pause(self) -> None:
        """Let it answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def kafka_cluster() -> Iterator[Cluster]:
    """A cluster of three brokers, whose topics appear when they are used."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Cluster(process.stdout.readline().strip(), process)
        finally:
            process.kill()


def main() -> None:
    """Be the cluster."""
    from confluent_kafka import Producer  # noqa: PLC0415  # the process that tests need not load it

    producer = Producer(
        {"test.mock.num.brokers": BROKERS, "bootstrap.servers": "mock", "log_level": 0}
    )
    brokers = producer.list_topics(timeout=10).brokers.values()
    print(",".join(f"{broker.host}:{broker.port}" for broker in brokers), flush=True)  # noqa: T201  # its answer
    sys.stdin.read()


if __name__ == "__main__":
    main()
