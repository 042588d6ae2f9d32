"""Which recognizer is opened, and why."""

import os
import subprocess
import sys

import cv2
import numpy as np
import onnxruntime
import pytest

from engine.config import OpenAlprSettings
from engine.errors import RecognizerError
from engine.recognizers import openalpr_library
from engine.recognizers.openalpr_library import find_library
from engine.recognizers.registry import open_recognizer

NOWHERE = OpenAlprSettings(library="/nowhere/libopenalprpy.so")


def test_opencv_works_on_one_thread_once_a_recognizer_is_open():
    cv2.setNumThreads(2)
    open_recognizer("builtin", OpenAlprSettings()).recognizer.close()
    assert cv2.getNumThreads() == 1


def test_builtin_is_opened_when_asked_for():
    recognizer, why, problem = open_recognizer("builtin", OpenAlprSettings())
    assert not problem
    assert (recognizer.name, why) == ("builtin", "the built-in recognizer, as configured")
    assert recognizer.version
    assert recognizer.recognize(np.zeros((90, 160), np.uint8)) == []
    recognizer.close()


def test_auto_falls_back_and_says_what_was_missing():
    recognizer, why, problem = open_recognizer("auto", NOWHERE)
    assert problem in why
    assert problem.startswith("OpenALPR is not usable: openalpr.library")
    assert recognizer.name == "builtin"
    assert "OpenALPR" in why
    assert "/nowhere/libopenalprpy.so" in why
    recognizer.close()


def test_networks_run_on_the_cpu_where_their_provider_is_not_installed(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    recognizer, why, problem = open_recognizer("builtin", OpenAlprSettings(), "cuda")
    assert why == f"the built-in recognizer, as configured; {problem}"
    assert "has no cuda" in problem
    assert "install onnxruntime-gpu" in problem
    assert recognizer.recognize(np.zeros((90, 160), np.uint8)) == []
    recognizer.close()


@pytest.mark.parametrize("starts", [True, False])
def test_a_provider_that_is_installed_is_asked_for_first(monkeypatch, starts):
    """No machine of the tests has a GPU: the session behind the provider is one of the CPU."""
    names = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    asked = []
    real = onnxruntime.InferenceSession

    def open_session(path: str, options: object, providers: list[str]) -> object:
        asked.append(providers)
        session = real(path, options, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: names if starts else names[1:]
        return session

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    recognizer, why, problem = open_recognizer("builtin", OpenAlprSettings(), "tensorrt")
    if starts:
        assert (why, problem) == ("the built-in recognizer on tensorrt, as configured", "")
    else:
        assert why == f"the built-in recognizer, as configured; {problem}"
        assert "tensorrt does not start on this machine" in problem
    assert asked == [names, names]
    recognizer.close()


def test_no_library_at_all_is_no_problem(monkeypatch):
    monkeypatch.setattr(openalpr_library, "_loader_folders", list)
    recognizer, why, problem = open_recognizer("auto", OpenAlprSettings())
    assert why == "the built-in recognizer, because no OpenALPR library was found"
    assert not problem
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
    recognizer, why, _problem = open_recognizer("auto", OpenAlprSettings())
    assert recognizer.name == "openalpr"
    assert "found" in why
    recognizer.close()


def test_the_built_in_recognizer_reports_to_nobody(tmp_path):
    """With telemetry, onnxruntime makes an id and a store of events below the home folder."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    code = "from engine.recognizers.builtin import BuiltinRecognizer; BuiltinRecognizer().close()"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
    assert not list(tmp_path.iterdir())
