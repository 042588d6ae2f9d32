"""Recognizers: one protocol (``base``), two ways behind it (``builtin``, ``openalpr``)."""
