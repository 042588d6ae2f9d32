"""``platering eval``: how well and how fast recognizers read labelled pictures and videos.

::

    labels     CSV -> which plates are where
    measure    recognizers by turns over every file
    matching   reads -> plates, sightings -> vehicles
    figures    rates, calibration, CPU time
    sheet      what went wrong, as pictures
    report     one run: all of the above, printed
"""

from engine.evaluation.report import EvalOptions, evaluate

__all__ = ["EvalOptions", "evaluate"]
