"""The report of a soak as one HTML file: the verdict, plots over time with every fault, faults."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

import msgspec

from engine.benchmarks.soak_faults import Struck
from engine.benchmarks.soak_samples import Sample
from engine.benchmarks.soak_verdict import Line

_WIDTH: Final = 1000
_HEIGHT: Final = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 24
_COLOURS: Final = ("#2f6fde", "#d9622b", "#2a9d5c", "#8f4fd0", "#c0304f", "#008a9a", "#806000")
_STEPS: Final = (1, 2, 5)

Points = list[tuple[float, float]]

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Soak</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1040px; margin: 2rem auto;
  padding: 0 1rem; color: light-dark(#1d2330, #e4e7ee); background: light-dark(#fff, #14171f); }}
h1 {{ margin-bottom: 0; }} h2 {{ margin: 1.6rem 0 .3rem; font-size: 1.05rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid light-dark(#e3e6ec, #2c3240); }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.pass {{ color: light-dark(#17733d, #5ed190); }} .fail {{ color: light-dark(#b3261e, #ff8a80); }}
.pass, .fail {{ font-weight: 600; white-space: nowrap; }}
svg {{ width: 100%; height: auto; display: block; }}
svg text {{ font-size: 11px; fill: light-dark(#5b6475, #9aa3b5); }}
.grid {{ stroke: light-dark(#e3e6ec, #2c3240); }}
.fault {{ stroke: light-dark(#c9a2a2, #6b4a4a); stroke-dasharray: 2 3; }}
.fault:hover {{ stroke: light-dark(#b3261e, #ff8a80); }}
.line {{ fill: none; stroke-width: 1.6; stroke-linejoin: round; }}
.legend span {{ margin-right: 1rem; white-space: nowrap; }}
.legend i {{ display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-right: .35em; }}
</style>
</head>
<body>
<h1>Soak</h1>
<p>{about}</p>
<h2>Verdict</h2>
<table>{verdict}</table>
{plots}
<h2>Faults</h2>
<p>Thin dotted lines in the plots are faults; rest on one to see which.</p>
<table><tr><th>fault</th><th class="number">times</th><th class="number">healed after, median</th>
<th class="number">longest</th></tr>{faults}</table>
</body>
</html>
"""


class Plot(msgspec.Struct, frozen=True):
    """A plot: what it shows, its unit, and a line of points for each name."""

    title: str
    unit: str
    lines: dict[str, Points]


def page(
    about: str, lines: Sequence[Line], samples: Sequence[Sample], struck: Sequence[Struck]
) -> str:
    """Return the report; it needs no other file."""
    return PAGE.format(
        about=escape(about),
        verdict="".join(map(_verdict_row, lines)),
        plots="".join(_drawn(plot, struck) for plot in _plots(samples)),
        faults="".join(_fault_rows(struck)),
    )


def _verdict_row(line: Line) -> str:
    return (
        f'<tr><td class="{line.word}">{line.word}</td><td>{escape(line.name)}</td>'
        f"<td>{escape(line.said)}</td></tr>"
    )


def _fault_rows(struck: Sequence[Struck]) -> Iterator[str]:
    for kind in sorted({one.kind for one in struck}):
        took = sorted(one.healed_s - one.at_s for one in struck if one.kind == kind)
        yield (
            f'<tr><td>{escape(kind)}</td><td class="number">{len(took)}</td>'
            f'<td class="number">{took[len(took) // 2]:.1f} s</td>'
            f'<td class="number">{took[-1]:.1f} s</td></tr>'
        )


def _plots(samples: Sequence[Sample]) -> Iterator[Plot]:
    kinds = sorted({kind for sample in samples for kind in sample.kinds})

    def by_kind(figure: str) -> dict[str, Points]:
        return {
            kind: [
                (one.at_s, getattr(one.kinds[kind], figure)) for one in samples if kind in one.kinds
            ]
            for kind in kinds
        }

    def over_time(pick: Callable[[Sample], float | None]) -> Points:
        return [(one.at_s, value) for one in samples if (value := pick(one)) is not None]

    yield Plot("Memory of its own, the largest process of each kind", "MiB", by_kind("own_mib"))
    yield Plot("Open files, likewise", "", by_kind("files"))
    yield Plot(
        "Redis's data and shared memory",
        "MiB",
        {
            "Redis's data": over_time(lambda one: one.redis_mib),
            "segments": over_time(lambda one: one.segments_mib),
        },
    )
    yield Plot(
        "Events",
        "",
        {
            "made by the publisher": over_time(lambda one: one.created),
            "in Redis's stream": over_time(lambda one: one.streamed),
        },
    )
    yield Plot("Events that wait in the spool", "", {"waiting": over_time(lambda one: one.waiting)})
    yield Plot(
        "Restarts, and the machine's load",
        "",
        {
            "restarts": over_time(lambda one: one.restarts),
            "load": over_time(lambda one: one.load),
        },
    )


def _drawn(plot: Plot, struck: Sequence[Struck]) -> str:
    """Return a plot as an SVG picture with its legend."""
    points = [point for line in plot.lines.values() for point in line]
    if not points:
        return ""
    last_s = max(1.0, *(x for x, _ in points))
    step = _step(max(y for _, y in points), 4)
    top = step * max(1, math.ceil(max(y for _, y in points) / step))

    def across(at_s: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(at_s, 0.0) / last_s, 1.0)

    def down(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top

    drawn = [
        *_grid(plot.unit, step, top, down),
        *_times(last_s, across),
        *_marks(struck, last_s, across),
    ]
    legend = []
    for colour, (name, line) in zip(_COLOURS, plot.lines.items(), strict=False):
        way = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
        drawn.append(f'<polyline class="line" stroke="{colour}" points="{way}"/>')
        legend.append(f'<span><i style="background:{colour}"></i>{escape(name)}</span>')
    return (
        f"<h2>{escape(plot.title)}</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(plot.title)}">'
        f'{"".join(drawn)}</svg><div class="legend">{"".join(legend)}</div>'
    )


def _grid(unit: str, step: float, top: float, down: Callable[[float], float]) -> Iterator[str]:
    for number in range(round(top / step) + 1):
        y = down(number * step)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        label = f"{number * step:g} {unit}".strip()
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _times(last_s: float, across: Callable[[float], float]) -> Iterator[str]:
    is_long = last_s > 300
    unit_s = 60.0 if is_long else 1.0
    step = _step(last_s / unit_s, 8)
    for number in range(int(last_s / unit_s / step) + 1):
        x, label = across(number * step * unit_s), f"{number * step:g} {'min' if is_long else 's'}"
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{label}</text>'


def _marks(
    struck: Sequence[Struck], last_s: float, across: Callable[[float], float]
) -> Iterator[str]:
    for one in struck:
        x = across(min(one.at_s, last_s))
        told = escape(f"{one.kind}: {one.target}, at {one.at_s:.0f} s")
        yield (
            f'<line class="fault" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}">'
            f"<title>{told}</title></line>"
        )


def _step(reach: float, parts: int) -> float:
    """Return a round number that goes into a reach about so many times."""
    rough = max(reach, 1e-9) / parts
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((step * power for step in _STEPS if step * power >= rough), 10 * power)
