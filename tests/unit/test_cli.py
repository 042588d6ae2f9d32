"""The command line: help, exit codes, one line per error, nothing imported that is not needed."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from engine.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("run", "engine", "api", "read", "eval", "doctor", "bench", "status", "keys", "people")


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"platering {version('platering')}\n"


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == version("platering"), "install it again: pip install -e ."


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids="-".join)
def test_help_is_complete_and_fits_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "exit codes:" in text
    assert max(map(len, text.splitlines())) <= 100
    options = re.findall(r"^  +(?:-\w, )?(--[a-z]+)", text, re.MULTILINE)
    assert "--help" in options


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^    {name} ", text, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["read"], ["run", "--port", "1"]])
def test_wrong_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: platering" in capsys.readouterr().err


def test_unknown_region_names_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["read", "--regions", "gb,zz", "x.jpg"])
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert "no region zz; there are " in text
    assert "gb" in text.rpartition("there are")[2]


@pytest.mark.parametrize("command", ["run", "engine", "api", "status"])
def test_configuration_mistake_is_one_line_and_exit_code_2(command, tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("[api]\nprot = 8080\n")
    assert main([command, "--config", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "platering: api.prot: unknown key — did you mean 'port'?\n"


def test_absent_configuration_names_the_option(tmp_path, capsys):
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err.endswith("— name a file with --config\n")


def test_status_without_an_engine(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("")
    assert main(["status", "--config", str(path)]) == 1
    assert "no engine runs with this configuration" in capsys.readouterr().err


def test_help_imports_no_heavy_library():
    """The whole parser costs less than numpy's import alone."""
    heavy = {"numpy", "cv2", "av", "onnxruntime", "rich", "redis", "pydantic", "msgspec", "flask"}
    code = (
        "import sys, engine.cli\n"
        "try: engine.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stderr.split())


def test_module_runs_like_the_console_script():
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("platering ")


def test_reader_of_the_output_may_leave(tmp_path):
    """``platering … | head -0`` ends without a traceback."""
    command = [sys.executable, "-m", "engine.cli", "doctor", "--json", "--config", str(tmp_path)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


def test_signals_are_left_alone_by_the_parser():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert signal.getsignal(signal.SIGINT) is before
