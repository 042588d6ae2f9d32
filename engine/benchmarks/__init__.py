"""Measurements behind ``platering bench``; ``bench/`` runs the same under pytest-benchmark."""
