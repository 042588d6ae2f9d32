"""What real shells offer behind ``platering``, and that it is what the parser knows."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from engine.cli import main

COMMANDS = {"run", "engine", "api", "read", "doctor", "status", "cameras", "top", "completion"}


@pytest.fixture
def scripts(tmp_path, capsys):
    """The file of each shell."""
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        (tmp_path / shell).write_text(capsys.readouterr().out)
    (tmp_path / "clip.mp4").touch()
    return tmp_path


def bash(scripts, line: str) -> set[str]:
    """Return what bash offers at the end of a line, as it would call our function."""
    words = line.split(" ")
    code = (
        f"source ./bash; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; "
        '_platering; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code], cwd=scripts, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def fish(scripts, line: str) -> set[str]:
    """Return what fish offers at the end of a line."""
    done = subprocess.run(
        ["fish", "--no-config", "-c", f'source fish; complete -C "{line}"'],
        cwd=scripts,
        env=os.environ | {"HOME": str(scripts)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {one.partition("\t")[0] for one in done.stdout.splitlines()}


@pytest.mark.parametrize(
    "offers",
    [
        bash,
        pytest.param(
            fish,
            marks=pytest.mark.skipif(not shutil.which("fish"), reason="fish: apt install fish"),
        ),
    ],
)
def test_commands_options_choices_and_files_are_offered(scripts, offers):
    assert offers(scripts, "platering ") >= COMMANDS
    assert offers(scripts, "platering rec") == {"recognizers"}
    verbs = {"add", "remove", "pause", "resume", "probe"}
    assert verbs <= offers(scripts, "platering cameras ")
    assert offers(scripts, "platering read --recognizer ") == {"auto", "builtin", "openalpr"}
    assert "clip.mp4" in offers(scripts, "platering read cl")
    assert "clip.mp4" in offers(scripts, "platering run --config cl")
    assert offers(scripts, "platering completion f") == {"fish"}
    assert {"--config", "--json", "--help"} <= offers(scripts, "platering doctor --")
    assert not offers(scripts, "platering doctor --frob")


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh: apt install zsh")
def test_zsh_completes_a_word_at_its_prompt(scripts):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(scripts)
        home = {"HOME": str(scripts), "ZDOTDIR": str(scripts), "TERM": "dumb", "PS1": "> "}
        os.execvpe("zsh", ["zsh", "-f", "-i"], os.environ | home)  # noqa: S606  # a shell is what is tested
    try:
        os.write(terminal, b"autoload -U compinit; compinit -u; compinit() { : }; source ./zsh\n")
        os.write(terminal, b"echo re'ady'\n")
        assert "ready" in read_until(terminal, r"\bready\b")
        os.write(terminal, b"platering recogn\t")
        assert "platering recognizers" in read_until(terminal, "platering recognizers")
        os.write(terminal, b"\x15platering cameras pr\t")
        assert "cameras probe" in read_until(terminal, "cameras probe")
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, pattern: str) -> str:
    """Return what a terminal shows until the pattern, or nothing more comes in time."""
    shown, deadline = "", time.monotonic() + 20.0
    while not re.search(pattern, shown) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
