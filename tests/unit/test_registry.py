"""Which recognizer is opened, and why."""

import numpy as np
import pytest

from engine.config import OpenAlprSettings
from engine.errors import RecognizerError
from engine.recognizers.openalpr_library import find_library
from engine.recognizers.registry import open_recognizer

NOWHERE = OpenAlprSettings(library="/nowhere/libopenalprpy.so")


def test_builtin_is_opened_when_asked_for():
    recognizer, why = open_recognizer("builtin", OpenAlprSettings())
    assert (recognizer.name, why) == ("builtin", "the built-in recognizer, as configured")
    assert recognizer.version
    assert recognizer.recognize(np.zeros((90, 160), np.uint8)) == []
    recognizer.close()


def test_auto_falls_back_and_says_what_was_missing():
    recognizer, why = open_recognizer("auto", NOWHERE)
    assert recognizer.name == "builtin"
    assert "OpenALPR" in why
    assert "/nowhere/libopenalprpy.so" in why
    recognizer.close()


def test_openalpr_asked_for_by_name_never_falls_back():
    with pytest.raises(RecognizerError, match=r"/nowhere/libopenalprpy\.so"):
        open_recognizer("openalpr", NOWHERE)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="auto, builtin, openalpr"):
        open_recognizer("magic", OpenAlprSettings())


@pytest.mark.openalpr
def test_auto_takes_openalpr_where_it_is():
    if find_library(OpenAlprSettings()) is None:
        pytest.skip("needs an OpenALPR library: install the package libopenalpr2")
    recognizer, why = open_recognizer("auto", OpenAlprSettings())
    assert recognizer.name == "openalpr"
    assert "found" in why
    recognizer.close()
