"""What so many cameras need: the arithmetic, and a measurement that is one."""

import json

import msgspec
import pytest

from engine.cli import main
from engine.config import RedisSettings
from engine.doctor.machine import MEMORY_BESIDE_BYTES, MEMORY_EACH_BYTES
from engine.plan import HEADROOM, Costs, Wish, plan
from engine.shm import SHM_DIR

COSTS = Costs(decode_cpu_ms=5.0, recognize_cpu_ms=20.0, evidence_bytes=50_000)
KEPT = RedisSettings(keep_days=10, evidence_days=2)


def test_the_arithmetic_by_hand():
    wish = Wish(cameras=100, fps=10, moving=0.5, vehicles_per_hour=600, camera_mbit_s=3)
    found = plan(wish, COSTS, 8, KEPT)
    assert found.recognized_per_s == pytest.approx(100 * (0.5 * 4 + 6 * 600 / 3600))
    assert found.cores_decoding == pytest.approx(100 * 10 * 5e-3)
    assert found.cores_recognizing == pytest.approx(300 * 20e-3)
    assert found.cores == 16  # 11 of them busy
    assert found.cores - 1 < 11 / HEADROOM <= found.cores
    assert (found.machines, found.recognizers) == (2, 8)
    assert found.shm_bytes == 50 * (8 + 2) * 1920 * 1080
    processes = found.memory_bytes - found.shm_bytes - MEMORY_BESIDE_BYTES
    assert processes == (50 + 8) * MEMORY_EACH_BYTES
    assert found.sightings_per_day == 100 * 600 * 24
    assert found.redis_bytes == 1_440_000 * (10 * 3_500 + 2 * 50_000)
    assert found.network_mbit_s == 300


def test_no_camera_is_recognized_more_often_than_it_has_frames():
    busy = Wish(cameras=3, fps=2, moving=1.0, vehicles_per_hour=9_000)
    assert plan(busy, COSTS, 4, KEPT).recognized_per_s == 6
    idle = Wish(cameras=1, fps=1, moving=0.0, vehicles_per_hour=0)
    found = plan(idle, COSTS, 64, KEPT)
    assert (found.recognized_per_s, found.cores, found.machines) == (0, 1, 1)


def test_what_a_frame_costs_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # without a config.toml
    assert main(["plan", "--cameras", "10", "--size", "640x360", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    costs = answer["costs"]
    assert 0.05 < costs["decode_cpu_ms"] < costs["recognize_cpu_ms"] < 1_000
    assert 2_000 < costs["evidence_bytes"] < 200_000
    wish = msgspec.convert(answer["wish"], Wish)
    assert (wish.cameras, wish.width_px, wish.height_px) == (10, 640, 360)
    again = plan(wish, msgspec.convert(costs, Costs), answer["cores"], RedisSettings())
    assert answer["plan"] == msgspec.to_builtins(again)


def test_people_are_told_in_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("engine.plan.measure", lambda *_: COSTS)
    assert main(["plan", "--cameras", "20", "--size", "640x360", "--fps", "5"]) == 0
    text = capsys.readouterr().out
    shown = {line.split("  ")[1].strip() for line in text.splitlines() if line.startswith("  ")}
    rows = {"decoding", "recognition", "machines", "memory, each", "Redis memory", "network"}
    assert rows | {f"{SHM_DIR}, each"} <= shown, text
    assert "This machine can serve about " in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cameras", "0"], "--cameras: must be from 1 to 100000 — it is 0"),
        (["--cameras", "2", "--size", "huge"], "--size: must be like 1920x1080 — it is 'huge'"),
        (["--cameras", "2", "--config", "none.toml"], "none.toml"),
        (["--cameras", "2", "--moving", "30"], "--moving: must be from 0 to 1 — it is 30"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    assert said in capsys.readouterr().err
