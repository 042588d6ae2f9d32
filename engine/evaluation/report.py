"""One run of ``platering eval``: opens the recognizers, measures, prints, writes the sheet."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from engine.config import OpenAlprSettings, Provider
from engine.console import table_console
from engine.errors import ConfigError
from engine.evaluation.figures import Figures, figure_rows
from engine.evaluation.labels import LabelSet, load_labels
from engine.evaluation.measure import Contestant, Outcomes, measure
from engine.evaluation.sheet import ContactSheet, FigureTable
from engine.footage import FrameBar
from engine.recognizers.base import RecognizeHints
from engine.recognizers.registry import open_recognizer

_DETECTED: Final = "-detected"
_MOVED: Final = "-moved"


class EvalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to compare and where to write."""

    recognizers: tuple[str, ...] = ("auto",)
    """Of ``engine.recognizers.registry.CHOICES``; ``openalpr-detected`` reads what the built-in
    detector finds, whatever the settings say; any other with ``-moved`` searches what moved."""
    regions: tuple[str, ...] = ()
    provider: Provider = "cpu"
    as_json: bool = False
    html: Path | None = None


class SetFigures(msgspec.Struct, frozen=True):
    """The figures of one label file, or of all, in the order of the recognizers."""

    title: str
    figures: tuple[Figures, ...]


class RecognizerReport(msgspec.Struct, frozen=True):
    """All figures of one recognizer, and those of each label file."""

    figures: Figures
    files: dict[str, Figures]


class Report(msgspec.Struct, frozen=True):
    """What ``--json`` prints; ``figures`` are those of the recognizer named first."""

    figures: Figures
    recognizers: dict[str, RecognizerReport]


def evaluate(paths: Sequence[Path], options: EvalOptions, openalpr: OpenAlprSettings) -> int:
    """Measure the recognizers on all label files and print their figures; return the exit code.

    Raises:
        ConfigError: a label file is wrong, or the folder of the sheet is not there.
        RecognizerError: a recognizer cannot start, or failed on a frame.
        SourceError: a labelled file cannot be read.
    """
    if options.html is not None and not options.html.parent.is_dir():
        raise ConfigError("--html", f"there is no folder {options.html.parent}")
    label_sets = [load_labels(path) for path in dict.fromkeys(paths)]
    people = Console(stderr=True)
    names = tuple(dict.fromkeys(options.recognizers))
    sheet = ContactSheet(names) if options.html else None
    with contextlib.ExitStack() as stack:
        hints = RecognizeHints(regions=options.regions)
        contestants = [_open(name, openalpr, hints, people, stack, options) for name in names]
        files = [file.path for labels in label_sets for file in labels.files]
        quiet = options.as_json and sys.stdout.isatty()
        bar = stack.enter_context(FrameBar(people, files, quiet=quiet))
        sets = _measure_all(label_sets, contestants, bar, sheet)
    if options.as_json:
        _print_json(names, sets)
    else:
        _print_tables(names, sets)
    if sheet is not None and options.html is not None:
        tables = [FigureTable(one.title, tuple(figure_rows(one.figures))) for one in sets]
        sheet.write(options.html, tables)
    return 0


def _open(
    name: str,
    openalpr: OpenAlprSettings,
    hints: RecognizeHints,
    people: Console,
    stack: contextlib.ExitStack,
    options: EvalOptions,
) -> Contestant:
    """Open a recognizer, to be closed by the stack."""
    choice = name.removesuffix(_DETECTED).removesuffix(_MOVED)
    if choice == "openalpr":
        detector = "builtin" if name.endswith(_DETECTED) else "openalpr"
        openalpr = openalpr.model_copy(update={"detector": detector})
    recognizer, why, _problem = open_recognizer(choice, openalpr, options.provider)
    stack.enter_context(contextlib.closing(recognizer))
    if not options.as_json:
        line = f"{name}: {why.rstrip('.')}."
        people.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    return Contestant(name, recognizer, hints, moved_only=name.endswith(_MOVED))


def _measure_all(
    label_sets: Sequence[LabelSet],
    contestants: Sequence[Contestant],
    bar: FrameBar,
    sheet: ContactSheet | None,
) -> list[SetFigures]:
    """Return the figures of each label file, and of all where there are several."""
    sets: list[SetFigures] = []
    total = [Outcomes() for _ in contestants]
    for labels in label_sets:
        outcomes = measure(labels, contestants, bar, sheet)
        sets.append(SetFigures(labels.name, tuple(one.figures() for one in outcomes)))
        for everything, one in zip(total, outcomes, strict=True):
            everything.add(one)
    if len(sets) > 1:
        sets.append(SetFigures("All", tuple(everything.figures() for everything in total)))
    return sets


def _print_json(names: Sequence[str], sets: Sequence[SetFigures]) -> None:
    *others, last = sets
    reports = {
        name: RecognizerReport(
            last.figures[number],
            {one.title: one.figures[number] for one in others or [last]},
        )
        for number, name in enumerate(names)
    }
    report = Report(last.figures[0], reports)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


def _print_tables(names: Sequence[str], sets: Sequence[SetFigures]) -> None:
    out = table_console()
    for one in sets:
        table = Table(title=one.title, title_justify="left", title_style="bold")
        table.add_column("")
        for name in names:
            table.add_column(name, justify="right")
        for row in figure_rows(one.figures):
            table.add_row(row.name, *row.cells)
        out.print(table)
