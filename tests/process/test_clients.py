"""The clients that the README shows do what it says: live, over a restart, nothing twice."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from front_process import front_process, sighting
from polling import wait_until

from engine.board import Count
from engine.config import RedisSettings
from engine.store_writer import StoreWriter
from engine.track import Event

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
NODE = shutil.which("node") or ""
RUNNABLE = ["python", "js"] if NODE else ["python"]
"""Languages that can be run here; node is no need of ours."""
ADDRESS = "http://127.0.0.1:8080"


def shown(language: str) -> list[str]:
    """Return the README's programs in a language that name an address."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if ADDRESS in block]


def command_of(language: str, program: str) -> list[str]:
    if language == "python":
        return [sys.executable, "-c", program]
    return [NODE, "--input-type=module", "-e", program]


@pytest.mark.parametrize("language", RUNNABLE)
def test_the_readme_program_sees_every_plate_once(redis_server, tmp_path, language: str) -> None:
    (program,) = shown(language)
    writer = StoreWriter(redis_server.url, RedisSettings())
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        here = program.replace(ADDRESS, f"http://127.0.0.1:{listener.getsockname()[1]}")
        output = tmp_path / "output"
        with output.open("w") as out:
            process = subprocess.Popen(command_of(language, here), stdout=out, stderr=out)
        try:
            with front_process(redis_server.url, listen=listener) as front:
                wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 10.0, "it listens")
                writer.commit([Event(sighting(number, 3), None) for number in range(3)])
                wait_until(lambda: "AB0002" in output.read_text(), 5.0, "it shows the plates")
                assert front.stop() == 0
            writer.commit([Event(sighting(number, 3), None) for number in range(3, 9)])
            with redis_server.connect() as client:
                client.xtrim("platering:{log}:stream", maxlen=4, approximate=False)
            with front_process(redis_server.url, listen=listener):
                wait_until(lambda: "AB0008" in output.read_text(), 10.0, "it has come back")
        finally:
            process.kill()
            process.wait()
            writer.close()
    plates = re.findall(r"AB\d{4}", output.read_text())
    assert plates == [f"AB{number:04d}" for number in (0, 1, 2, 5, 6, 7, 8)]
    assert "gone: 2" in output.read_text()


@pytest.mark.parametrize("language", ["js", "python", "kotlin", "swift"])
def test_the_readme_shows_a_client(language: str) -> None:
    programs = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert any("Last-Event-ID" in program for program in programs)
