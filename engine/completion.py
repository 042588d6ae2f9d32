"""Completion scripts for shells, made from the parser itself, so that they never fall behind.

bash has one function that walks the words; zsh runs the same one through its ``bashcompinit``;
fish is told every word with the sentence of ``--help``.
"""

import argparse
import shlex
from collections.abc import Iterator

import msgspec


class Option(msgspec.Struct, frozen=True):
    """One option of a command; ``words`` are what may follow it, none: a file or any text."""

    names: tuple[str, ...]
    about: str
    takes_value: bool
    words: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True):
    """One command: its words from ``platering`` on, and what may come after them."""

    path: str
    verbs: tuple[tuple[str, str], ...]
    """Commands below it, each with its sentence."""
    options: tuple[Option, ...]
    words: tuple[str, ...]
    """What its arguments may be, where that is fixed."""
    takes_files: bool


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return what a shell reads to complete the commands of a parser."""
    commands = list(_commands(parser, parser.prog))
    if shell == "fish":
        return _fish(commands)
    start = "autoload -U +X compinit bashcompinit\ncompinit\nbashcompinit\n"
    return (start if shell == "zsh" else "") + _bash(commands)


def _commands(parser: argparse.ArgumentParser, path: str) -> Iterator[Command]:
    """Yield a command and all below it, from what argparse knows of them."""
    options: list[Option] = []
    words: list[str] = []
    verbs: dict[str, argparse.ArgumentParser] = {}
    sentences: dict[str, str] = {}
    takes_files = False
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to ask
        choices = action.choices or ()
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # same
            verbs = dict(action.choices)
            sentences = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001  # same
        elif action.option_strings:
            takes_value = action.nargs != 0
            names, about = tuple(action.option_strings), action.help or ""
            options.append(Option(names, about, takes_value, tuple(map(str, choices))))
        elif choices:
            words += map(str, choices)
        else:
            takes_files = True
    shown = tuple((verb, sentences.get(verb, "")) for verb in verbs)
    yield Command(path, shown, tuple(options), tuple(words), takes_files)
    for verb, below in verbs.items():
        yield from _commands(below, f"{path} {verb}")


def _bash(commands: list[Command]) -> str:
    """Write one function: find the command that the words name, offer what may follow."""
    turns = "".join(
        f"      {shlex.quote(f'{one.path} {verb}')}) at={shlex.quote(f'{one.path} {verb}')} ;;\n"
        for one in commands
        for verb, _ in one.verbs
    )
    values, offers = "", ""
    for one in commands:
        for option in one.options:
            if option.takes_value:
                cases = "|".join(shlex.quote(f"{one.path} {name}") for name in option.names)
                offer = shlex.join(["-W", "\n".join(option.words)]) if option.words else "-f"
                values += f"    {cases}) offer=({offer}) ;;\n"
        names = [name for option in one.options for name in option.names]
        words = "\n".join([*(verb for verb, _ in one.verbs), *one.words, *names])
        files = " -f" if one.takes_files else ""
        offers += f"    {shlex.quote(one.path)}) offer=(-W {shlex.quote(words)}{files}) ;;\n"
    return f"""\
_platering() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  local at=platering i offer=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at ${{COMP_WORDS[i]}}" in
{turns}    esac
  done
  case "$at $before" in
{values}  esac
  [ "${{#offer[@]}}" -gt 0 ] || case "$at" in
{offers}  esac
  local IFS=$'\\n'
  COMPREPLY=($(compgen "${{offer[@]}}" -- "$current"))
}}
complete -o filenames -F _platering platering
"""


def _fish(commands: list[Command]) -> str:
    """Write a function that tells where the words have come to, and a line per word."""
    paths = " ".join(shlex.quote(one.path) for one in commands[1:])
    lines = [
        "function __platering_at",
        "  set -l at platering",
        "  for word in (commandline -opc)[2..-1]",
        f'    contains -- "$at $word" {paths}; and set at "$at $word"',
        "  end",
        '  test "$at" = "$argv[1]"',
        "end",
        "complete -c platering -f",
    ]
    for one in commands:
        here = f"complete -c platering -n {_in_fish(f'__platering_at {_in_fish(one.path)}')}"
        for verb, about in one.verbs:
            lines.append(f"{here} -a {verb} -d {_in_fish(about)}")
        if one.words:
            lines.append(f"{here} -a {_in_fish(' '.join(one.words))}")
        if one.takes_files:
            lines.append(f"{here} -F")
        for option in one.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            value = f" -x -a {_in_fish(' '.join(option.words))}" if option.words else " -r -F"
            lines.append(f"{here} {names}{value * option.takes_value} -d {_in_fish(option.about)}")
    return "\n".join(lines) + "\n"


def _in_fish(text: str) -> str:
    """Quote for fish, in which a backslash quotes within quotes, too."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
