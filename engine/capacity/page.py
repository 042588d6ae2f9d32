"""The same page for a browser: one file that needs no other."""

from html import escape
from pathlib import Path
from string import Template
from typing import Final

from engine.capacity.figures import BenchRun
from engine.capacity.report import PageTable, circumstances, tables, verdict

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>What $name can serve · Platering</title>
<style>
:root { --ground: #f5f6f8; --surface: #fff; --line: #e2e5ea; --ink: #14181f; --soft: #5a6472;
  --bad: #c62828; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0f1217; --surface: #171b22; --line: #272d38; --ink: #e8ebf0; --soft: #a3adbb;
    --bad: #ff7b72; }
}
body { margin: 0 auto; max-width: 1000px; padding: 24px 20px 60px; background: var(--ground);
  color: var(--ink); font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
  sans-serif; }
h1 { margin: 0 0 4px; font-size: 24px; }
h2 { margin: 28px 0 8px; font-size: 17px; }
p { margin: 4px 0; }
.verdict { margin: 16px 0; padding: 14px 16px; font-size: 17px; background: var(--surface);
  border: 1px solid var(--line); border-radius: 10px; }
.soft { color: var(--soft); font-size: 13px; }
.failed { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; background: var(--surface); border: 1px solid var(--line);
  font-size: 14px; }
thead th { border-bottom: 1px solid var(--line); }
th, td { padding: 4px 12px; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; font-weight: 400; }
thead th { color: var(--soft); font-weight: 400; }
</style>
</head>
<body>
<h1>What $name can serve</h1>
<p class="soft">$circumstances</p>
<p class="verdict">$verdict</p>
$failures
$tables
</body>
</html>
""")


def write_page(run: BenchRun, path: Path) -> None:
    """Write the page of a run."""
    failures = "".join(
        f'<p class="failed">{escape(name)} failed: {escape(reason)}</p>'
        for name, reason in run.failures.items()
    )
    text = _PAGE.substitute(
        name=escape(run.machine.name),
        circumstances=escape(circumstances(run)),
        verdict=escape(verdict(run)),
        failures=failures,
        tables="\n".join(map(_table, tables(run))),
    )
    path.write_text(text, encoding="utf-8")


def _table(one: PageTable) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in one.columns)
    rows = "".join(_row(row) for row in one.rows)
    note = f'<p class="soft">{escape(one.note)}</p>' if one.note else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>{escape(one.title)}</h2><div class="wide">{table}</div>{note}'


def _row(row: tuple[str, ...]) -> str:
    first, *others = map(escape, row)
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'
