"""The recognizer that ships with the engine: two small networks, no library to install."""

from engine.recognizers.builtin.recognizer import VERSION, BuiltinRecognizer

__all__ = ["VERSION", "BuiltinRecognizer"]
