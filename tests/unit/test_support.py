"""An archive for strangers: what helps is in it, what is secret is in none of its files."""

import json
import logging
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from engine.cli import main
from engine.support import Scrubber

PLANTED = {
    "camera": "cam/pa@ss?w0rd",
    "encoded": "p%40ss%2Fenc",
    "decoded": "p@ss/enc",
    "query": "tok3n-in-query",
    "environment": "from-the-environment",
    "file": "from-a-secret-file",
    "hook": "hook-signing-secret",
    "bearer": "bearer-t0ken-1234",
    "broker": "broker-passw0rd",
    "redis": "redis-passw0rd",
    "quoted": 'with "quotes" and \\ in it',
    "comment": "old-passw0rd-in-a-comment",
    "added": "of-a-camera-added-later",
    "traces": "t0ken-of-traces",
    "strange": "of-another-machine",
}
"""Secrets, by where each is first written."""


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    (tmp_path / "secret.txt").write_text(f"{PLANTED['file']}\n")
    monkeypatch.setenv("GATE_PASSWORD", PLANTED["environment"])
    monkeypatch.setenv("TRACES_TOKEN", PLANTED["traces"])
    (tmp_path / "data" / "engine").mkdir(parents=True)
    added = {"cameras": [{"name": "late", "url": f"rtsp://u:{PLANTED['added']}@192.0.2.8/"}]}
    (tmp_path / "data" / "engine" / "amendments.json").write_text(json.dumps(added))
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
data_dir = "data"
[[cameras]]
name = "gate"
enabled = false
url = "rtsp://admin:{PLANTED["camera"]}@192.0.2.1/one"
# url = "rtsp://admin:{PLANTED["comment"]}@192.0.2.1/two"
[[cameras]]
name = "yard"
enabled = false
url = "rtsp://admin:{PLANTED["encoded"]}@192.0.2.2/one"
[[cameras]]
name = "quay"
enabled = false
url = "http://192.0.2.3/x.jpg?access_token={PLANTED["query"]}&size=4"
[[cameras]]
name = "dock"
enabled = false
url = "rtsp://u:${{GATE_PASSWORD}}@192.0.2.4/one"
[redis]
url = "redis://:{PLANTED["redis"]}@127.0.0.1:1/0"
[[sinks.webhooks]]
name = "barrier"
url = "https://hooks.example.com/plates"
secret = "file:{tmp_path / "secret.txt"}"
authorization = "Bearer {PLANTED["bearer"]}"
[[sinks.webhooks]]
name = "other"
url = "https://hooks.example.com/others"
secret = "{PLANTED["hook"]}"
authorization = '{PLANTED["quoted"]}'
[sinks.mqtt]
# password = "{PLANTED["comment"]}"
[sinks.kafka]
servers = "kafka.example.com:9092"
username = "platering"
password = "{PLANTED["broker"]}"
[traces]
endpoint = "https://collect.example.com/v1/traces?token=${{TRACES_TOKEN}}"
[api]
port = 0
"""
    )
    return path


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "journal.log"
    lines = [f"cannot log in with {secret}, giving up" for secret in PLANTED.values()]
    lines.append(json.dumps({"message": f"refused: {PLANTED['quoted']}"}))
    lines.append(f"at https://hooks.example.com/?key={quote(PLANTED['hook'])}")
    strange = lines.index(f"cannot log in with {PLANTED['strange']}, giving up")
    lines[strange] = f"redirected to rtsp://u:{PLANTED['strange']}@192.0.2.9/ by somebody"
    path.write_text("\n".join([*lines, "camera gate turned live"]))
    return path


def bundle(*arguments: str) -> dict[str, str]:
    """Return each file of an archive by its name without the folder."""
    target = Path(arguments[-1])
    assert main(["support-bundle", *arguments]) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()
            for member in archive.getmembers()
        }


def test_what_is_secret_is_in_none_of_its_files(config, log, tmp_path, capsys):
    files = bundle("--config", str(config), "--log", str(log), "--output", str(tmp_path / "b.tgz"))
    assert capsys.readouterr().out == f"{tmp_path / 'b.tgz'}\n"
    for name, text in files.items():
        forms = [text, text.replace('\\"', '"').replace("\\\\", "\\")]
        found = [where for where, secret in PLANTED.items() if any(secret in one for one in forms)]
        assert not found, (name, found, [line for line in text.splitlines() if "***" in line])


def test_what_helps_is_in_it(config, log, tmp_path):
    files = bundle("--config", str(config), "--log", str(log), "--output", str(tmp_path / "b.tgz"))
    wanted = {"config.toml", "versions.txt", "doctor.json", "limits.txt", "data_dir.txt"}
    assert wanted <= set(files)
    assert '"gate"' in files["config.toml"]
    assert "192.0.2.1/one" in files["config.toml"]
    assert "platering 0." in files["versions.txt"]
    assert '"check": "cores"' in files["doctor.json"]
    assert "camera gate turned live" in files["log-0-journal.log"]
    assert "192.0.2.9" in files["log-0-journal.log"]


def test_a_configuration_with_a_mistake_is_bundled_all_the_same(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[[cameras]]\nname = "gate"\nurl = "rtsp://u:hunter22@192.0.2.1/"\nfps = "x"\n')
    files = bundle("--config", str(path), "--output", str(tmp_path / "b.tgz"))
    assert "cameras[0].fps" in files["status.txt"]
    assert not any("hunter22" in text for text in files.values())


def test_nobody_guesses_what_is_secret(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text('[[cameras]\nurl = "rtsp://u:hunter22@192.0.2.1/"')
    assert main(["support-bundle", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "mend it first" in said
    assert "hunter22" not in said


def test_a_log_that_is_not_there_is_named(config, tmp_path, capsys):
    arguments = ["--log", str(tmp_path / "none"), "--output", str(tmp_path / "b.tgz")]
    assert main(["support-bundle", "--config", str(config), *arguments]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert not (tmp_path / "b.tgz").exists()


def test_short_secrets_mask_only_where_they_stand():
    scrubber = Scrubber('[sinks.mqtt]\nurl = "mqtt://u:ab@h"\n')
    assert scrubber.scrubbed("a cab to mqtt://u:ab@h") == "a cab to mqtt://u:***@h"


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
