"""``platering eval --simulate``: traffic with known truth, every frame read beside all savings."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from engine.board import Fate
from engine.config import OpenAlprSettings
from engine.console import table_console
from engine.evaluation.labels import LabelSet
from engine.evaluation.matching import look_alike, match_video
from engine.evaluation.watcher import (
    ALL_SAVINGS,
    NO_SAVINGS,
    Watcher,
    percentile,
    share,
)
from engine.footage import FrameBar, Passage, frames_of
from engine.recognizers.base import Recognizer
from engine.recognizers.registry import open_recognizer
from engine.sources.scene import DemoScene, DemoVehicle
from engine.sources.traffic import RoadStyle
from engine.types import Box, Luma, PlateRead

FPS: Final = 15.0


class Scenario(msgspec.Struct, frozen=True):
    """A road and its traffic."""

    name: str
    density: float = 1.0
    style: RoadStyle = RoadStyle()


SCENARIOS: Final = (
    Scenario("demo"),
    Scenario("quiet", 0.15, RoadStyle(lanes=1)),
    Scenario("dense", 3.0),
    Scenario("fast", 1.0, RoadStyle(speed=2.0)),
    Scenario("stop and go", 1.0, RoadStyle(stop_s=10.0)),
    Scenario("parked", 1.0, RoadStyle(parked=True)),
    Scenario("occluded", 1.0, RoadStyle(occlusion=0.4)),
    Scenario("similar", 1.0, RoadStyle(similar=0.8)),
    Scenario("night", 1.0, RoadStyle(night=0.6)),
)


class PassageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the vehicles, told by one way of watching."""

    found_once: int
    """Vehicles told of exactly once, with the right plate (O = 0, I = 1)."""
    wrong_text: int
    duplicates: int
    false: int
    provisional_p50_s: float | None = None
    """From the first legible frame to the provisional event, of the vehicles found; below 0 where
    the plate was read before it counted as legible."""
    provisional_p95_s: float | None = None
    recognized: int
    """Frames that were recognized."""
    cpu_s: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One clip or scenario, watched in both ways."""

    name: str
    expected: int
    frames: int
    in_view: float | None = None
    """Share of the frames with a vehicle in them."""
    single_frame_accuracy: float | None = None
    """Share of right texts among the counted reads of legible plates."""
    track_accuracy: float | None = None
    """Share of right texts among the finals of expected vehicles."""
    every_frame: PassageFigures
    savings: PassageFigures
    skipped: dict[str, int]
    """Frames left out by each saving."""
    cpu_saving: float | None
    """How many times less CPU time the savings take."""


class SimulationReport(msgspec.Struct, frozen=True):
    """What ``--json`` prints."""

    total: Comparison
    scenarios: list[Comparison]
    clips: list[Comparison]


class SimulateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much to simulate, and how to print."""

    vehicles: int = 40
    """In each scenario."""
    seed: int = 11
    scenarios: tuple[str, ...] = tuple(scenario.name for scenario in SCENARIOS)
    recognizer: str = "auto"
    as_json: bool = False


class Pair:
    """The same frames before two watchers: one reads all of them, one saves."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.every = Watcher(NO_SAVINGS, recognizer)
        self.saving = Watcher(ALL_SAVINGS, recognizer)
        self.frames = 0
        self._at_s = 0.0

    def show(self, luma: Luma, at_s: float) -> list[PlateRead]:
        """Show a frame to both; return what was read by the one that reads all."""
        self.frames += 1
        self._at_s = at_s
        reads = self.every.show(luma, at_s)
        self.saving.show(luma, at_s)
        return reads

    def compare(
        self, name: str, truth: Sequence[DemoVehicle], bystanders: Sequence[str] = ()
    ) -> Comparison:
        """End the clip and sum up; ``bystanders`` may be told of or not."""
        figures, right, told = [], 0, 0
        for watcher in (self.every, self.saving):
            watcher.finish(self._at_s)
            one, right_texts, finals = _passage_figures(watcher, truth, bystanders)
            if watcher is self.every:
                right, told = right_texts, finals
            figures.append(one)
        fates = self.saving.fates
        return Comparison(
            name=name,
            expected=len(truth),
            frames=self.frames,
            track_accuracy=share(right, told),
            every_frame=figures[0],
            savings=figures[1],
            skipped={
                fate.name.removeprefix("SKIPPED_").lower(): fates[fate]
                for fate in (Fate.SKIPPED_STATIC, Fate.SKIPPED_KNOWN, Fate.SKIPPED_PACED)
            },
            cpu_saving=_ratio(self.every.cpu_s, self.saving.cpu_s),
        )


def _passage_figures(
    watcher: Watcher, truth: Sequence[DemoVehicle], bystanders: Sequence[str]
) -> tuple[PassageFigures, int, int]:
    """Return the figures, and how many sightings of expected vehicles are right, and there are."""
    expected = [vehicle.plate for vehicle in truth]
    passages = [Passage(told.last, b"") for told in watcher.told.values()]
    matched, strays = match_video([*expected, *bystanders], passages)
    vehicles = matched[: len(expected)]
    first_s = {told.last.id: told.first_s for told in watcher.told.values()}
    delays = [
        min(first_s[passage.sighting.id] for passage in vehicle.right) - known.legible_from_s
        for vehicle, known in zip(vehicles, truth, strict=True)
        if vehicle.right
    ]
    figures = PassageFigures(
        found_once=sum(len(vehicle.right) == 1 for vehicle in vehicles),
        wrong_text=sum(len(vehicle.wrong) for vehicle in vehicles),
        duplicates=sum(max(0, len(vehicle.right) - 1) for vehicle in vehicles),
        false=len(strays),
        provisional_p50_s=percentile(delays, 50),
        provisional_p95_s=percentile(delays, 95),
        recognized=watcher.fates[Fate.RECOGNIZED],
        cpu_s=round(watcher.cpu_s, 2),
    )
    right = sum(len(vehicle.right) for vehicle in vehicles)
    return figures, right, sum(len(vehicle.passages) for vehicle in vehicles)


def simulate(
    labels: Sequence[LabelSet], options: SimulateOptions, openalpr: OpenAlprSettings
) -> int:
    """Run the scenarios, then the labelled clips, and print; return the exit code.

    Raises:
        RecognizerError: the recognizer cannot start, or failed on a frame.
        SourceError: a labelled clip cannot be read.
    """
    people = Console(stderr=True)
    recognizer, why, _ = open_recognizer(options.recognizer, openalpr)
    wanted = [one for one in SCENARIOS if one.name in options.scenarios]
    with contextlib.closing(recognizer):
        people.print(f"Reading with {why.rstrip('.')}.", style="dim", highlight=False)
        scenarios = [_traffic(one, recognizer, options, people) for one in wanted]
        clips = list(_clips(labels, recognizer, people, quiet=options.as_json))
    report = SimulationReport(_total(scenarios or clips), scenarios, clips)
    if options.as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print(report)
    return 0


def _traffic(
    scenario: Scenario, recognizer: Recognizer, options: SimulateOptions, people: Console
) -> Comparison:
    """Watch one scenario until so many vehicles have passed."""
    people.print(f"{scenario.name} …", style="dim", highlight=False)
    scene = DemoScene(options.seed, density=scenario.density, style=scenario.style)
    until_s = _until(scene, options.vehicles)
    truth = scene.truth(until_s)
    pair, seen, right, counted = Pair(recognizer), 0, 0, 0
    for number in range(int(until_s * FPS)):
        at_s = number / FPS
        reads = pair.show(scene.luma(at_s), at_s)
        seen += scene.is_anybody_there(at_s)
        legible = {
            vehicle.plate for vehicle in truth
            if vehicle.legible_from_s <= at_s <= vehicle.legible_to_s
        }  # fmt: skip
        for plate, corners in scene.corners(at_s).items():
            texts = _texts_in(Box.around(corners), reads) if plate in legible else []
            counted += len(texts)
            right += sum(look_alike(text, plate) for text in texts)
    expected = {vehicle.plate for vehicle in truth}
    found = pair.compare(scenario.name, truth, sorted(scene.all_plates(until_s) - expected))
    return msgspec.structs.replace(
        found, in_view=share(seen, pair.frames), single_frame_accuracy=share(right, counted)
    )


def _until(scene: DemoScene, vehicles: int) -> float:
    """Return when so many vehicles have passed."""
    until_s = 10.0
    while len(scene.truth(until_s)) < vehicles:
        until_s += 5.0
    return until_s


def _texts_in(box: Box, reads: Sequence[PlateRead]) -> list[str]:
    """Return the texts of the reads that count whose plates are in a box."""
    least = NO_SAVINGS.min_confidence
    return [r.plate for r in reads if r.confidence >= least and box.holds(r.box.center)]


def _clips(
    labels: Sequence[LabelSet], recognizer: Recognizer, people: Console, *, quiet: bool
) -> Iterator[Comparison]:
    """Watch every labelled video."""
    files = [file for one in labels for file in one.files if not file.is_picture]
    with FrameBar(people, [file.path for file in files], quiet=quiet) as bar:
        for file in files:
            pair = Pair(recognizer)
            for frame, luma in frames_of(file.path, bar):
                at_s = pair.frames / 25 if frame.pts_s is None else frame.pts_s
                pair.show(luma, at_s)
            plates = [plate.text for plate in file.plates if plate.text]
            vehicles = [_unknown_times(plate) for plate in plates]
            found = pair.compare(file.path.rpartition("/")[2], vehicles)
            yield _without_delays(found)


def _unknown_times(plate: str) -> DemoVehicle:
    return DemoVehicle(
        plate=plate, region="", enters_s=0, leaves_s=0, legible_from_s=0, legible_to_s=0
    )


def _without_delays(one: Comparison) -> Comparison:
    """Return it without what the labels of clips do not tell: since when plates are legible."""
    bare = {"provisional_p50_s": None, "provisional_p95_s": None}
    return msgspec.structs.replace(
        one,
        every_frame=msgspec.structs.replace(one.every_frame, **bare),
        savings=msgspec.structs.replace(one.savings, **bare),
    )


def _ratio(more: float, less: float) -> float | None:
    return round(more / less, 2) if less else None


def _total(parts: Sequence[Comparison]) -> Comparison:
    """Add up; of delays and shares no total is made."""

    def added(figures: Sequence[PassageFigures]) -> PassageFigures:
        return PassageFigures(
            found_once=sum(one.found_once for one in figures),
            wrong_text=sum(one.wrong_text for one in figures),
            duplicates=sum(one.duplicates for one in figures),
            false=sum(one.false for one in figures),
            recognized=sum(one.recognized for one in figures),
            cpu_s=round(sum(one.cpu_s for one in figures), 2),
        )

    every = added([part.every_frame for part in parts])
    savings = added([part.savings for part in parts])
    names = {name for part in parts for name in part.skipped}
    return Comparison(
        name="All",
        expected=sum(part.expected for part in parts),
        frames=sum(part.frames for part in parts),
        every_frame=every,
        savings=savings,
        skipped={name: sum(part.skipped[name] for part in parts) for name in sorted(names)},
        cpu_saving=_ratio(every.cpu_s, savings.cpu_s),
    )


_COLUMNS: Final = (
    "", "Watched", "Expected", "Once", "Wrong", "Again", "False", "Event p50", "p95", "Frames",
    "Recognized", "CPU s", "Saving",
)  # fmt: skip


def _print(report: SimulationReport) -> None:
    out = table_console()
    for title, parts in (("Simulated traffic", report.scenarios), ("Clips", report.clips)):
        if not parts:
            continue
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, column in enumerate(_COLUMNS):
            table.add_column(column, justify="left" if number < 2 else "right")
        for part in [*parts, report.total] if parts is report.scenarios else parts:
            table.add_row(*_row(part, "every frame", part.every_frame))
            table.add_row("", *_row(part, "savings", part.savings)[1:])
        out.print(table)
    for part in report.scenarios:
        out.print(
            f"{part.name}: vehicles in view {_percent(part.in_view)}, right texts "
            f"{_percent(part.single_frame_accuracy)} of single reads, "
            f"{_percent(part.track_accuracy)} of tracks; frames left out: "
            + ", ".join(f"{name} {count}" for name, count in part.skipped.items()),
            highlight=False,
        )


def _row(part: Comparison, way: str, figures: PassageFigures) -> tuple[str, ...]:
    saving = f"{part.cpu_saving:.1f} ×" if way == "savings" and part.cpu_saving else ""
    return (
        part.name,
        way,
        str(part.expected),
        str(figures.found_once),
        str(figures.wrong_text),
        str(figures.duplicates),
        str(figures.false),
        _seconds(figures.provisional_p50_s),
        _seconds(figures.provisional_p95_s),
        str(part.frames),
        str(figures.recognized),
        f"{figures.cpu_s:.1f}",
        saving,
    )


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
