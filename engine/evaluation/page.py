"""The contact sheet's page: its look, and the places of its parts."""

from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Misses of $recognizers · Platering</title>
<style>
:root {
  --ground: #f5f6f8; --surface: #fff; --line: #e2e5ea; --ink: #14181f; --soft: #5a6472;
  --good: #17803d; --bad: #c62828; --marked: #ffdcd8; --screen: #dfe3e9; --accent: #1f63d6;
  --plate: #fdfdf8; --plate-ink: #12161c; --plate-line: #2a313b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1217; --surface: #171b22; --line: #272d38; --ink: #e8ebf0; --soft: #a3adbb;
    --good: #4cc38a; --bad: #ff7b72; --marked: #5c2320; --screen: #0a0c10; --accent: #79a9ff;
    --plate: #eeeee6; --plate-line: #0a0c10;
  }
}
*, *::before { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1600px; padding: 24px 20px 60px;
  background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 { margin: 0 0 16px; font-size: 24px; }
p, ul, dl, dd { margin: 0; padding: 0; }
ul { list-style: none; }
code, .truth {
  font-family: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace;
}
.tables { display: flex; flex-wrap: wrap; gap: 16px; align-items: start; }
table {
  border-collapse: collapse; background: var(--surface); border: 1px solid var(--line);
  border-radius: 10px; font-size: 14px; overflow: hidden;
}
caption { text-align: left; font-weight: 600; padding: 0 2px 6px; overflow-wrap: anywhere; }
thead td, thead th { border-bottom: 1px solid var(--line); }
th, td { padding: 4px 12px; text-align: right; font-variant-numeric: tabular-nums; }
tbody th { text-align: left; font-weight: 400; color: var(--soft); }
fieldset { border: 0; margin: 28px 0 12px; padding: 0; display: flex; flex-wrap: wrap; gap: 8px; }
legend { padding: 0; margin-bottom: 8px; font-size: 18px; font-weight: 600; }
label {
  padding: 4px 12px; border: 1px solid var(--line); border-radius: 99px;
  background: var(--surface); cursor: pointer;
}
label:has(:checked) { border-color: var(--accent); color: var(--accent); }
label:has(:focus-visible) { outline: 2px solid var(--accent); outline-offset: 2px; }
label input { position: absolute; opacity: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 14px; }
.tile {
  display: flex; flex-direction: column; overflow: hidden;
  background: var(--surface); border: 1px solid var(--line); border-radius: 10px;
}
.picture {
  height: 150px; background: var(--screen); display: grid; place-items: center;
  color: var(--soft); font-size: 13px;
}
.picture img { width: 100%; height: 150px; object-fit: contain; }
.about { padding: 10px 12px 12px; display: grid; gap: 6px; }
.kind { font-size: 12px; color: var(--soft); }
.truth {
  justify-self: start; padding: 1px 8px; border: 1.5px solid var(--plate-line); border-radius: 5px;
  background: var(--plate); color: var(--plate-ink); font-size: 17px; font-weight: 700;
  letter-spacing: .06em;
}
dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 10px; align-items: baseline; }
dt { color: var(--soft); font-size: 13px; }
dd code { font-size: 15px; letter-spacing: .04em; }
dd small { margin-left: 8px; color: var(--soft); font-variant-numeric: tabular-nums; }
.right code { color: var(--good); }
.right small::after { content: " ✓"; color: var(--good); }
.wrong small::after { content: " ✗"; color: var(--bad); }
.nothing { color: var(--bad); }
mark { background: var(--marked); color: inherit; border-radius: 3px; }
.file {
  font-size: 12px; color: var(--soft);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
body:has(#only-missed:checked) .tile:not(.missed),
body:has(#only-unread:checked) .tile:not(.unread),
body:has(#only-misread:checked) .tile:not(.misread),
body:has(#only-again:checked) .tile:not(.again),
body:has(#only-false:checked) .tile:not(.false) { display: none; }
</style>
</head>
<body>
<h1>Misses of $recognizers</h1>
<section class="tables" aria-label="Figures">$tables</section>
<fieldset>
<legend>What went wrong</legend>
<label><input type="radio" name="kind" id="only-all" checked> All <b>$count</b></label>$filters
</fieldset>
<ul class="tiles">$tiles</ul>
</body>
</html>
"""
"""Filled by ``string.Template``; every value is HTML already."""
