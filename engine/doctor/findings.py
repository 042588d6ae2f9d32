"""What ``platering doctor`` says: findings, and how they are printed."""

import sys
from enum import StrEnum

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from engine.errors import EXIT_FAILED


class Verdict(StrEnum):
    """How good a finding is."""

    FINE = "fine"
    WARNING = "warning"
    """It runs, but less well than it could."""
    PROBLEM = "problem"
    """What the configuration asks for cannot work."""


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: what was found and, unless it is fine, what to do."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


class Report(msgspec.Struct, frozen=True):
    """All findings; ``can_run`` is false when one is a problem."""

    can_run: bool
    findings: list[Finding]


def print_report(report: Report, *, as_json: bool) -> int:
    """Print the findings; return the exit code, 1 when there is a problem."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print_for_people(report)
    return 0 if report.can_run else EXIT_FAILED


def _print_for_people(report: Report) -> None:
    out = Console(highlight=False)
    signs = {
        Verdict.FINE: "[green]✓[/]",
        Verdict.WARNING: "[yellow]![/]",
        Verdict.PROBLEM: "[red]✗[/]",
    }
    width = max(len(finding.check) for finding in report.findings)
    for finding in report.findings:
        out.print(f"{signs[finding.verdict]} {finding.check:<{width}}", end="  ")
        out.print(finding.found, markup=False, soft_wrap=True)
        if finding.remedy:
            out.print(Padding(Text(f"→ {finding.remedy}"), (0, 0, 0, width + 4), expand=False))
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in report.findings)
    out.print(
        "[green]It can run.[/]" if report.can_run else f"[red]{count(problems, 'problem')}.[/]"
    )


def count(number: int, noun: str) -> str:
    """Write a number with its noun, in the plural where it is one."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
