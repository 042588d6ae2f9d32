"""Finds out how often reads are right, for the map from probability to confidence.

::

    python -m engine.recognizers.builtin.training.calibrate labels.csv

``labels.csv`` has the columns ``file,x,y,w,h,plate``. Prints the two rows of numbers that
``engine.recognizers.builtin.ranking`` interpolates between, and how many reads each rests on. Use
photographs that no network was trained on.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from engine.plates import as_seen, normalise
from engine.recognizers.builtin import BuiltinRecognizer, ranking
from engine.types import Box

_EDGES: Final = (0.0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0)
_SAME_PLATE: Final = 0.3
_PRIOR_READS: Final = 4.0
"""A share among few reads is drawn to the middle of its probabilities, as by so many more."""


def reads_of(table: Path) -> Iterator[tuple[float, bool]]:
    """Yield the probability of every read of a labelled plate, 0 to 1, and whether it is right.

    O counts as 0 and I as 1: on most plates they are the same glyph.
    """
    recognizer = BuiltinRecognizer()
    with table.open(newline="") as rows:
        labels = [row for row in csv.DictReader(rows) if row["plate"]]
    for row in labels:
        picture = cv2.imread(str(table.parent / row["file"]), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ValueError(f"{table.parent / row['file']} is no picture that can be read")
        box = Box(*(float(row[key]) for key in ("x", "y", "w", "h")))
        for read in recognizer.recognize(np.asarray(picture, np.uint8)):
            if read.box.iou(box) > _SAME_PLATE:
                plate = normalise(row["plate"])
                yield read.confidence / 100, as_seen(read.plate) == as_seen(plate)


def fitted(reads: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """Return (mean probability, share of right reads, number of reads) of each bin, rising."""
    probabilities = np.array([probability for probability, _ in reads])
    right = np.array([is_right for _, is_right in reads], np.float64)
    bins = np.digitize(probabilities, _EDGES[1:-1])
    rows = []
    highest = 0.0
    for place in range(len(_EDGES) - 1):
        mine = bins == place
        if count := int(mine.sum()):
            middle = float(probabilities[mine].mean())
            share = (right[mine].sum() + _PRIOR_READS * middle) / (count + _PRIOR_READS)
            highest = max(highest, float(share))
            rows.append((middle, highest, count))
    return rows


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measures how often reads are right.")
    parser.add_argument("tables", type=Path, nargs="+", metavar="LABELS.csv")
    tables = parser.parse_args().tables
    ranking.CALIBRATION = (0.0, 1.0), (0.0, 100.0)  # probabilities as they are
    rows = fitted([read for table in tables for read in reads_of(table)])
    for probability, share, count in rows:
        sys.stdout.write(f"{probability:.3f}  {100 * share:5.1f}  of {count} reads\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
