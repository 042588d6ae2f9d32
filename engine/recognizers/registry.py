"""Chooses the recognizer: OpenALPR where its library is, the built-in one everywhere else."""

from engine.config import OpenAlprSettings
from engine.errors import RecognizerError
from engine.recognizers.base import Recognizer
from engine.recognizers.builtin import BuiltinRecognizer
from engine.recognizers.openalpr import OpenAlprRecognizer

CHOICES = ("auto", "builtin", "openalpr")


def open_recognizer(choice: str, openalpr: OpenAlprSettings) -> tuple[Recognizer, str]:
    """Open the recognizer of the configuration; returns it and one sentence on why it was chosen.

    ``auto`` takes OpenALPR when its library is found and loads, else the built-in recognizer, and
    the sentence then says what was missing. The caller owns the recognizer and closes it.

    Raises:
        RecognizerError: the recognizer asked for by name cannot start.
        ValueError: the choice is none of ``CHOICES``.
    """
    if choice not in CHOICES:
        raise ValueError(f"{choice!r} is no recognizer; there are {', '.join(CHOICES)}")
    if choice == "builtin":
        return BuiltinRecognizer(), "the built-in recognizer, as configured"
    if choice == "openalpr":
        recognizer = OpenAlprRecognizer(openalpr)
        return recognizer, f"OpenALPR {recognizer.version}, as configured"
    try:
        recognizer = OpenAlprRecognizer(openalpr)
    except RecognizerError as error:
        return (
            BuiltinRecognizer(),
            f"the built-in recognizer, because OpenALPR is not usable: {error}",
        )
    return recognizer, f"OpenALPR {recognizer.version}, because its library was found"
