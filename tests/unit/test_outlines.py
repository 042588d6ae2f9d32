"""Crops, masks and zones in the configuration: parts of the picture, or a mistake in words."""

import pytest

from engine.config import parse_camera
from engine.errors import ConfigError

TRIANGLE = [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]


def camera(**settings):
    return parse_camera({"name": "gate", "url": "demo://"} | settings)


def test_parts_of_the_picture_are_taken():
    gate = camera(crop=[0.1, 0.0, 0.5, 1.0], masks=[TRIANGLE], motion_zones=[TRIANGLE, TRIANGLE])
    assert gate.crop == (0.1, 0.0, 0.5, 1.0)
    assert gate.masks == (((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)),)
    assert len(gate.motion_zones) == 2
    assert type(gate).model_validate_json(gate.model_dump_json()) == gate


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": [0.5, 0.0, 0.6, 1.0]}, r"cameras\[0\]\.crop: must be \[\] or \[x, y, width"),
        ({"crop": [0.5, 0.0, 0.0, 1.0]}, "part of the picture"),
        ({"crop": [0.1, 0.1, 0.2]}, "part of the picture"),
        ({"crop": [0.1, 0.1, 200.0, 0.1]}, "must be at most 1"),
        ({"masks": [TRIANGLE[:2]]}, r"cameras\[0\]\.masks\[0\]"),
        ({"masks": TRIANGLE}, r"cameras\[0\]\.masks\[0\]"),
        ({"masks": [[[0.0, 0.0], [1.5, 0.0], [0.0, 1.0]]]}, "must be at most 1"),
        ({"hwaccel": "magic"}, "hwaccel"),
        ({"memory_mib": 1}, "must be at least 256"),
        (
            {"masks": [TRIANGLE], "clip": "hits"},
            r"cameras\[0\]\.clip: cannot be together with masks: .* — take out the masks",
        ),
    ],
)
def test_what_is_no_part_of_the_picture_is_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        camera(**settings)
