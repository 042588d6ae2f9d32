# ruff: noqa: INP001 (a script beside its picture, not part of the package)
"""Bakes ``plates.png``, the letters of the demo's plates, from font files.

Run by hand, never at run time (needs Pillow)::

    python bake.py BARLOW.woff OVERPASS.woff SAIRA.woff

The picture has one row of cells, 88 px wide and 64 px high, per font; each cell holds one
glyph of ``CHARACTERS``, capitals 64 px high, white on black, at the cell's left edge.
README.md beside this file tells where the fonts came from and their licence.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
CAPITAL_PX = 64
CELL_PX = 88


def bake(font_file: str) -> Image.Image:
    """Return one row of cells."""
    probe = ImageFont.truetype(font_file, 200)
    _, top, _, bottom = probe.getbbox("H")
    font = ImageFont.truetype(font_file, 200 * CAPITAL_PX / (bottom - top))
    top = font.getbbox("H")[1]
    row = Image.new("L", (CELL_PX * len(CHARACTERS), CAPITAL_PX))
    for place, character in enumerate(CHARACTERS):
        left, _, right, _ = font.getbbox(character)
        if right - left > CELL_PX:
            raise SystemExit(f"{font_file}: {character} is wider than a cell")
        glyph = Image.new("L", (CELL_PX, CAPITAL_PX))
        ImageDraw.Draw(glyph).text((-left, -top), character, font=font, fill=255)
        row.paste(glyph, (place * CELL_PX, 0))
    return row


if __name__ == "__main__":
    rows = [bake(name) for name in sys.argv[1:]]
    atlas = Image.new("L", (rows[0].width, CAPITAL_PX * len(rows)))
    for place, row in enumerate(rows):
        atlas.paste(row, (0, place * CAPITAL_PX))
    atlas.save(Path(__file__).with_name("plates.png"), optimize=True)
