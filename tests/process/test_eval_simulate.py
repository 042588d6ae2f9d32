"""``platering eval --simulate``: traffic with known truth, every frame read beside all savings."""

import json
import subprocess
import sys

import pytest

from engine.cli import main

EVAL = [sys.executable, "-m", "engine.cli", "eval"]


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*EVAL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_fast_traffic_is_found_both_ways_and_the_savings_save() -> None:
    done = evaluate("--simulate", "--scenario", "fast", "--vehicles", 4, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (found,) = report["scenarios"]
    assert found["expected"] >= 4
    assert found["frames"] == found["every_frame"]["recognized"]
    for way in ("every_frame", "savings"):
        figures = found[way]
        assert figures["found_once"] >= found["expected"] - 1
        assert figures["wrong_text"] + figures["duplicates"] + figures["false"] <= 1
        assert figures["provisional_p95_s"] < 1.0
    assert found["savings"]["recognized"] + sum(found["skipped"].values()) == found["frames"]
    assert found["cpu_saving"] > 1.3
    assert found["track_accuracy"] >= found["single_frame_accuracy"] - 0.2
    assert report["total"]["expected"] == found["expected"]
    assert report["clips"] == []


def test_an_unknown_scenario_is_refused_by_name() -> None:
    done = evaluate("--simulate", "--scenario", "flying")
    assert done.returncode == 2
    assert "--scenario: there is no flying" in done.stderr
    assert evaluate().returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--simulate", "--vehicles", 0), "--vehicles: must be at least 1 — it is 0"),
        (("--simulate", "--no-traffic"), "--no-traffic: leaves nothing to watch"),
        (("--simulate", "--html", "x.html"), "--html: does not go with --simulate"),
        (("--simulate", "--regions", "gb"), "--regions: does not go with --simulate"),
        (("--simulate", *2 * ("--recognizer", "auto")), "--recognizer: is given twice"),
        (("--vehicles", 5, "labels.csv"), "go with --simulate only"),
    ],
)
def test_what_does_not_go_together_is_refused(capsys, arguments, said) -> None:
    assert main(["eval", *map(str, arguments)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["demo", "quiet"])
def test_the_targets_hold(scenario: str) -> None:
    """Found exactly once, hardly anything else; quiet: five times less CPU for the same."""
    done = evaluate("--simulate", "--scenario", scenario, "--vehicles", 40, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["scenarios"]
    for way in ("every_frame", "savings"):
        figures = found[way]
        assert figures["found_once"] >= 0.98 * found["expected"] - 1
        assert figures["duplicates"] + figures["false"] <= max(1, 0.005 * found["expected"])
    if scenario == "quiet":
        assert found["in_view"] >= 0.5
        assert found["cpu_saving"] >= 5.0


@pytest.mark.shared
def test_the_tollgate_clip_has_three_sightings_both_ways(tmp_path, shared_data) -> None:
    labels = tmp_path / "clip.csv"
    clip = shared_data / "video" / "vn_tollgate_parkpow.mp4"
    (tmp_path / "clip.mp4").symlink_to(clip)
    labels.write_text("file,plates\nclip.mp4,34A36837|34A23126|89C20339\n")
    done = evaluate("--simulate", "--no-traffic", labels, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (found,) = report["clips"]
    for way in ("every_frame", "savings"):
        figures = found[way]
        assert figures["found_once"] == found["expected"] == 3
        assert figures["wrong_text"] + figures["duplicates"] + figures["false"] == 0
    assert found["cpu_saving"] > 1.5
