"""Orders that were given while an engine ran: which of them stand, and where they are kept."""

import json

import pytest

from engine.amendments import Amendments
from engine.config import parse_camera, parse_settings
from engine.errors import ControlError

GATE = parse_camera({"name": "gate", "url": "demo://"})


@pytest.fixture
def amendments(tmp_path):
    found = Amendments(tmp_path / "amendments.json")
    found.add_camera(GATE)
    found.remove_camera("yard")
    found.pause_camera("gate", paused=True)
    found.set_recognizers(3)
    return found


def test_what_the_file_says_anew_goes_before_orders_and_nothing_is_written_before_it_is_taken(
    amendments, tmp_path
):
    path = tmp_path / "amendments.json"
    before = path.read_text()
    fewer = amendments.without({"yard"}, recognizers=True)
    assert (fewer.removed, fewer.recognizers, list(fewer.cameras)) == ((), None, ["gate"])
    assert amendments.without({"gate"}, recognizers=False).cameras == {}
    assert amendments.without({"gate"}, recognizers=False).paused == ("gate",)
    written = parse_settings({"cameras": [{"name": "yard", "url": "demo://"}]})
    assert {camera.name for camera in amendments.applied(written, fewer).cameras} == {
        "gate", "yard"
    }  # fmt: skip
    assert [camera.name for camera in amendments.applied(written).cameras] == ["gate"]
    assert path.read_text() == before
    amendments.take(fewer)
    assert json.loads(path.read_text())["removed"] == []
    assert Amendments(path).changes == fewer


def test_orders_that_are_put_back_leave_newer_ones_alone(amendments):
    before = amendments.changes
    amendments.take(amendments.without({"gate", "yard"}, recognizers=True))
    assert amendments.with_those_of(before) == before
    other = parse_camera({"name": "other", "url": "demo://"})
    amendments.add_camera(other)
    amendments.remove_camera("gate")
    restored = amendments.with_those_of(before)
    assert restored.cameras == {"other": other}
    assert sorted(restored.removed) == ["gate", "yard"]
    assert restored.recognizers == 3
    amendments.set_recognizers(5)
    assert amendments.with_those_of(before).recognizers == 5


def test_a_disk_that_refuses_is_told_of_and_the_changes_count_until_the_end(amendments, tmp_path):
    (tmp_path / "amendments.new").mkdir()
    fewer = amendments.without({"yard"}, recognizers=False)
    with pytest.raises(ControlError, match="not kept for the next start"):
        amendments.take(fewer)
    assert amendments.changes == fewer
