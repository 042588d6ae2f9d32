"""Nothing is counted that no metric tells of, and nothing is told of twice."""

from api.metrics import FATES, GAUGES, PER_CAMERA, TOTALS
from engine.board import Count, Fate


def test_every_count_and_every_fate_has_one_metric():
    assert TOTALS.keys() | GAUGES.keys() == set(Count)
    assert FATES.keys() | PER_CAMERA.keys() == set(Fate)
    words = [word for table in (TOTALS, GAUGES, PER_CAMERA) for word, _ in table.values()]
    assert len(set(words)) == len(TOTALS) + len(GAUGES) + len(PER_CAMERA)
    assert len(set(FATES.values())) == len(FATES)
