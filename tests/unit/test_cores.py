"""Cores that this process may use: bound to, or limited by its container."""

import os

import pytest

from engine import cores
from engine.cores import container_cores, usable_cores


@pytest.mark.parametrize(
    ("own", "limits", "found"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {".": "max 100000"}, None),
        ("0::/\n", {".": "150000 100000"}, 1.5),
        ("1:cpu:/x\n0::/pod/app\n", {"pod": "200000 100000", "pod/app": "max 100000"}, 2.0),
        ("0::/pod/app\n", {"pod": "50000 100000", "pod/app": "400000 100000"}, 0.5),
        ("1:cpu:/x\n", {".": "garbage"}, None),
    ],
)
def test_the_tightest_limit_counts(tmp_path, own, limits, found):
    (tmp_path / "own").write_text(own)
    for group, text in limits.items():
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "cpu.max").write_text(text)
    assert container_cores(tmp_path, tmp_path / "own") == found


@pytest.mark.parametrize(("limit", "count"), [(None, 3), (0.2, 1), (1.5, 2), (64.0, 3)])
def test_bound_and_limited(monkeypatch, limit, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 4, 5})
    monkeypatch.setattr(cores, "container_cores", lambda: limit)
    assert usable_cores() == count
