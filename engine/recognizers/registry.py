"""Chooses the recognizer: OpenALPR where its library is, the built-in one everywhere else."""

from typing import NamedTuple

import cv2

from engine.config import OpenAlprSettings, Provider
from engine.errors import RecognizerError
from engine.recognizers.base import Recognizer
from engine.recognizers.builtin import BuiltinRecognizer
from engine.recognizers.builtin.network import why_on_cpu
from engine.recognizers.openalpr import OpenAlprRecognizer
from engine.recognizers.openalpr_library import find_library

CHOICES = ("auto", "builtin", "openalpr")


class Opened(NamedTuple):
    """A recognizer, which its receiver closes, and why it is this one."""

    recognizer: Recognizer
    why: str
    """One sentence without its stop."""
    problem: str = ""
    """What the configuration asks for and this machine lacks, part of ``why``; empty: nothing."""


def open_recognizer(choice: str, openalpr: OpenAlprSettings, provider: Provider = "cpu") -> Opened:
    """Open the recognizer of the configuration.

    OpenCV takes one thread in this process from now on: its pool would spin between the many small
    steps of a recognition and gain nothing.

    ``auto`` takes OpenALPR when its library is found and loads, else the built-in recognizer, and
    the sentence then says what was missing. ``provider`` runs the built-in networks; where it is
    not installed, the CPU does.

    Raises:
        RecognizerError: the recognizer asked for by name cannot start.
        ValueError: the choice is none of ``CHOICES``.
    """
    if choice not in CHOICES:
        raise ValueError(f"{choice!r} is no recognizer; there are {', '.join(CHOICES)}")
    cv2.setNumThreads(1)
    if choice == "builtin":
        return _builtin(provider, "as configured")
    if choice == "openalpr":
        return _openalpr(openalpr, provider, "as configured")
    try:
        if find_library(openalpr) is None:
            return _builtin(provider, "because no OpenALPR library was found")
        return _openalpr(openalpr, provider, "because its library was found")
    except RecognizerError as error:
        problem = f"OpenALPR is not usable: {error}"
        opened = _builtin(provider, f"because {problem}")
        return opened._replace(problem=_sentence(problem, opened.problem))


def _openalpr(settings: OpenAlprSettings, provider: Provider, why: str) -> Opened:
    recognizer = OpenAlprRecognizer(settings, provider=provider)
    problem = why_on_cpu(provider) if recognizer.provider != provider else ""
    return Opened(recognizer, _sentence(f"OpenALPR {recognizer.version}, {why}", problem), problem)


def _builtin(provider: Provider, why: str) -> Opened:
    recognizer = BuiltinRecognizer(provider)
    problem = why_on_cpu(provider) if recognizer.provider != provider else ""
    place = "" if recognizer.provider == "cpu" else f" on {provider}"
    return Opened(recognizer, _sentence(f"the built-in recognizer{place}, {why}", problem), problem)


def _sentence(why: str, problem: str) -> str:
    return f"{why}; {problem}" if problem else why
