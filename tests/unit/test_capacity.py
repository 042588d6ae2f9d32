"""What so many cameras need and a machine can serve: arithmetic, whose figures, and the page."""

import json

import msgspec
import pytest

from engine.benchmarks.end_to_end import EndToEndFigures
from engine.benchmarks.recognize import FrameCosts, RecognizeFigures
from engine.capacity.figures import BenchRun, Figures, Machine, keep, load
from engine.capacity.page import write_page
from engine.capacity.plan import HEADROOM, Costs, Wish, costs_of, plan, serving
from engine.capacity.report import print_report, told
from engine.cli import main
from engine.config import RedisSettings
from engine.doctor.machine import MEMORY_BESIDE_BYTES, MEMORY_EACH_BYTES
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


def figures(**changes) -> Figures:
    """What a machine measured, in round numbers."""
    sizes = [
        FrameCosts(
            width_px=width, height_px=height, decode_cpu_ms=decode, recognize_cpu_ms=recognize,
            evidence_bytes=50_000,
        )
        for width, height, decode, recognize in ((1000, 1000, 2, 8), (2000, 1000, 4, 12))
    ]  # fmt: skip
    recognize = RecognizeFigures(recognizer="builtin", sizes=tuple(sizes))
    return msgspec.structs.replace(Figures(recognize=recognize), **changes)


def ends(engine_ms: float, bare_ms: float, crowding: float) -> EndToEndFigures:
    return EndToEndFigures(
        workers=4, engine_fps=90, bare_fps=100, ratio=0.9, engine_cpu_ms_per_frame=engine_ms,
        bare_cpu_ms_per_frame=bare_ms, decoding_cpu_ms_per_frame=3, recognizer_share=0.7,
        other_share=0.1, crowding=crowding, dropped=0,
    )  # fmt: skip


def machine(**changes) -> Machine:
    mine = Machine(name="here", processor="a CPU", cores=4, memory_bytes=1 << 36, shm_bytes=1 << 35)
    return msgspec.structs.replace(mine, **changes)


def bench_run(found: Figures, **changes) -> BenchRun:
    run = BenchRun(
        machine=Machine.this(), began_unix_s=1_790_000_000, took_s=240, load_before=0.1,
        load_after=1.5, figures=found,
    )  # fmt: skip
    return msgspec.structs.replace(run, **changes)


@pytest.mark.parametrize(
    ("size", "decode", "recognize"),
    [((1000, 1000), 2, 8), ((1500, 1000), 3, 10), ((500, 500), 0.5, 2), ((4000, 1000), 8, 24)],
)
def test_costs_follow_the_size(size, decode, recognize):
    found = costs_of(figures(), Wish(cameras=1, width_px=size[0], height_px=size[1]))
    assert (found.decode_cpu_ms, found.recognize_cpu_ms) == pytest.approx((decode, recognize))


def test_what_the_engine_adds_and_what_cores_share_is_counted():
    whole = figures(end_to_end=ends(20.0, 12.0, 1.5))
    found = costs_of(whole, Wish(cameras=1, width_px=1000, height_px=1000))
    assert (found.decode_cpu_ms, found.recognize_cpu_ms, found.beside_cpu_ms) == (3, 12, 5)
    assert costs_of(Figures(), Wish(cameras=1)) is None


def test_what_limits_a_machine_is_named():
    wish = Wish(cameras=1, fps=10, moving=1.0, vehicles_per_hour=0, width_px=1000, height_px=1000)
    costs = Costs(decode_cpu_ms=5.4, recognize_cpu_ms=9, evidence_bytes=0)  # 0.09 of a core
    found = serving(wish, costs, machine(), Figures())
    assert (found.cameras, found.limit) == (int(4 * HEADROOM / 0.09), "its cores")
    assert (found.decoding_share, found.recognizing_share) == (0.6, 0.4)
    assert "This machine can serve about 31 cameras at 10 frames/s" in found.sentence()
    assert "What limits it: its cores" in found.sentence()
    assert "decoding 60%, all else was not measured, and 30%" in found.sentence()
    rounded = msgspec.structs.replace(costs, decode_cpu_ms=1, recognize_cpu_ms=16, beside_cpu_ms=0)
    assert "all else 0%," in serving(wish, rounded, machine(), Figures()).sentence()
    ring = 6 * 1000 * 1000
    found = serving(wish, costs, machine(shm_bytes=5 * ring), Figures())
    assert (found.cameras, found.limit) == (5, f"the size of {SHM_DIR}")
    assert serving(wish, costs, machine(memory_bytes=1), Figures()).cameras == 0


def test_a_plan_says_whose_figures_it_is_made_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # without a config.toml
    keep(bench_run(figures()), tmp_path / "data")
    assert main(["plan", "--cameras", "20", "--size", "1500x1000"]) == 0
    text = capsys.readouterr().out
    assert f"Figures: platering bench on {Machine.this().name}" in text
    assert "3.0 CPU-ms (1500x1000)" in text
    shown = {line.split("  ")[1].strip() for line in text.splitlines() if line.startswith("  ")}
    rows = {"decoding", "recognition", "machines", "memory, each", "Redis memory", "network"}
    assert rows | {f"{SHM_DIR}, each"} <= shown, text
    assert "This machine can serve about " in text
    other = tmp_path / "other.json"
    other.write_bytes(msgspec.json.encode(bench_run(figures(), machine=machine(cores=64))))
    assert main(["plan", "--cameras", "20", "--figures", str(other), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["cores"], answer["plan"]["recognizers"]) == (64, 64)
    assert "platering bench on here" in answer["figures"]
    assert main(["plan", "--cameras", "20", "--figures", str(other)]) == 0
    assert "The machine here can serve about " in capsys.readouterr().out


def test_what_a_frame_costs_is_measured_where_the_kept_run_is_anothers(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    keep(bench_run(figures(), machine=machine(cores=1_000)), tmp_path / "data")
    assert main(["plan", "--cameras", "10", "--size", "640x360", "--json"]) == 0
    shown = capsys.readouterr()
    assert "it was measured on 1000 cores (a CPU)" in shown.err
    answer = json.loads(shown.out)
    assert answer["figures"].startswith("measured now")
    costs = answer["costs"]
    assert 0.05 < costs["decode_cpu_ms"] < costs["recognize_cpu_ms"] < 1_000
    assert 2_000 < costs["evidence_bytes"] < 200_000
    wish = msgspec.convert(answer["wish"], Wish)
    assert (wish.cameras, wish.width_px, wish.height_px) == (10, 640, 360)
    again = plan(wish, msgspec.convert(costs, Costs), answer["cores"], RedisSettings())
    assert answer["plan"] == msgspec.to_builtins(again)


def test_figures_that_are_none_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "figures.json"
    failed = bench_run(Figures(), failures={"recognize": "no weights"})
    for text, said in (
        ('{"figures": {}}', "holds no figures of platering bench"),
        ("plates", "holds no figures of platering bench"),
        (msgspec.json.encode(failed).decode(), "does not say what a frame costs: no weights"),
    ):
        path.write_text(text)
        assert main(["plan", "--cameras", "2", "--figures", str(path)]) == 2
        assert said in capsys.readouterr().err
    assert main(["plan", "--cameras", "2", "--figures", "none.json"]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err


def test_the_page_says_what_was_measured_and_what_failed(tmp_path, capsys):
    run = bench_run(figures(end_to_end=ends(20.0, 12.0, 1.5)), failures={"sse": "no <server>"})
    print_report(run)
    text = capsys.readouterr().out
    assert text.rstrip().endswith("stay in reserve.")
    for said in ("FAILED sse: no <server>", "0.90 x", "2000x1000", "load average 0.1 before"):
        assert said in text
    path = tmp_path / "told.json"
    path.write_bytes(msgspec.json.encode(told(run)))
    assert json.loads(path.read_bytes())["serves"]["busy"]["limit"] == "its cores"
    assert load(path) == run, "what is printed can be planned with"
    write_page(run, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "sse failed: no &lt;server&gt;" in page
    assert "can serve about" in page
    assert "://" not in page, "one file that needs no other"


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


def test_the_memory_is_that_of_the_container(monkeypatch):
    whole = Machine.this().memory_bytes
    limits = {"memory.max": "1073741824\n", "memory.current": "73741824\n"}
    monkeypatch.setattr("engine.doctor.machine._cgroup", lambda name: limits[name].strip())
    assert Machine.this().memory_bytes == 1 << 30 < whole
    limits["memory.max"] = "max"
    assert Machine.this().memory_bytes >= whole
