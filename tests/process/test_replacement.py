"""The configuration is read again and processes are replaced while an engine works, losing nothing.

One engine goes through all of it, with a client of its live events.
"""

import signal
import subprocess

import pytest
from engine_run import PLATERING, EngineRun, Events, demo, events_of, imbalance, running
from polling import wait_until

from engine.board import Kind
from engine.types import CameraState

SMALL = "&width=480&height=270&fps=8"
SECOND = '[[cameras]]\nname = "second"\nurl = "demo://?seed=5&width=320&height=180&fps=5"\n'


def order(run: EngineRun, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLATERING, *arguments, "--config", run.config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def done(run: EngineRun, *arguments: str) -> list[str]:
    ordered = order(run, *arguments)
    assert ordered.returncode == 0, ordered
    return ordered.stdout.splitlines()


def rewrite(run: EngineRun, before: str, after: str) -> None:
    text = run.config.read_text()
    assert before in text
    run.config.write_text(text.replace(before, after))


def live(run: EngineRun, name: str) -> bool:
    cameras = [camera for camera in run.status().cameras if camera.name == name]
    return any(camera.state is CameraState.LIVE for camera in cameras)


def events(client: Events) -> list[tuple[str, int]]:
    """Return which revisions of which sightings a client was told of, in their order."""
    return [(sighting.id, sighting.revision) for _, sighting in list(client.taken)]


@pytest.fixture
def without_extras(tmp_path, monkeypatch):
    """Libraries that are not installed, whatever is."""
    shadow = tmp_path / "shadow"
    for library in ("paho", "opentelemetry"):
        (shadow / library).mkdir(parents=True)
        (shadow / library / "__init__.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(shadow))


@pytest.fixture
def run(tmp_path, without_extras):  # noqa: ARG001  # before the engine starts
    config = demo(scene=SMALL, rest="[recognizers]\ncount = 2\n[tracker]\nmax_gap_s = 2.0\n")
    with running(tmp_path, config) as engine:
        yield engine


def test_processes_and_settings_are_replaced_and_nothing_is_lost(run):
    with events_of(run) as client:
        wait_until(lambda: client.taken, 20.0, "plates come")
        replaces_processes(run)
        reloads(run)
        refuses_what_is_wrong(run)
        goes_back(run)
        changes_levels(run)
        run.ask("camera.pause", name="demo")
        wait_until(lambda: run.camera("demo").state is CameraState.PAUSED, 5.0, "paused")
        wait_until(lambda: imbalance(run.camera("demo")) == 0, 5.0, "every frame has its fate")
        ledger = run.camera("demo").ledger
        assert sum(count for fate, count in ledger.items() if fate.startswith("failed_")) == 0
        wait_until(lambda: len(client.finals()) >= ledger["sightings"], 15.0, "all have passed")
        assert len(set(events(client))) == len(client.taken)
        assert client.gaps == 0
        with events_of(run) as late:  # it is given all from the first one on
            wait_until(lambda: events(late) == events(client), 10.0, "each was told of all")
    samples = run.metrics()
    assert samples["platering_frame_reads_lost_total{}"] == 0
    assert samples["platering_config_reloads_total{refused}"] == 2
    assert samples["platering_config_reloads_total{reverted}"] == 2
    assert samples["platering_config_reloads_total{applied}"] >= 2
    run.process.send_signal(signal.SIGINT)
    run.stop(signal.SIGHUP)  # which wants a reload: in vain, and no second order to end
    assert "ending at once" not in run.said()


def replaces_processes(run: EngineRun) -> None:
    before = run.pids()
    assert done(run, "restart", "all") == [
        "replacing publisher, worker-0, worker-1, api-0", "done"
    ]  # fmt: skip
    after = run.pids()
    assert after["decoder-demo"] == before["decoder-demo"]
    old = {pid for name, pid in before.items() if not name.startswith(("decoder", "redis"))}
    assert not old & set(after.values())
    assert len(after) == len(before)


def reloads(run: EngineRun) -> None:
    before = run.pids()
    assert done(run, "reload") == ["nothing has changed", "done"]
    rewrite(run, "[api]", f"{SECOND}[api]")
    assert done(run, "reload") == [
        "camera second: added, demo://?seed=5&width=320&height=180&fps=5", "done"
    ]  # fmt: skip
    wait_until(lambda: live(run, "second"), 15.0, "the new camera is live")
    assert before.items() <= run.pids().items(), "nobody else was touched"

    decoder = run.pids()["decoder-second"]
    rewrite(run, 'name = "second"', 'name = "second"\nmin_reads = 3')
    assert done(run, "reload") == ["camera second: min_reads: 2 → 3", "done"]
    assert run.pids()["decoder-second"] == decoder, "the publisher alone goes by that"
    rewrite(run, "min_reads = 3", "min_reads = 3\nskip_static = false")
    rewrite(run, "max_gap_s = 2.0", "max_gap_s = 2.5")
    rewrite(run, "port = 0", "port = 1\nmax_body_mib = 8.0")
    lines = done(run, "reload")
    assert lines[:3] == [
        "tracker.max_gap_s: 2.0 → 2.5",
        "api.max_body_mib: 16.0 → 8.0",
        "camera second: skip_static: true → false",
    ]
    assert lines[3].startswith("replacing one after the other: publisher, api-")
    assert lines[4:] == ["api.port: 0 → 1; this needs a restart of the engine", "done"]
    now = run.pids()
    assert now["decoder-demo"] == before["decoder-demo"]
    wait_until(lambda: run.pids().get("decoder-second", decoder) != decoder, 10.0, "a new decoder")
    assert now["publisher"] != before["publisher"]
    rewrite(run, "port = 1", "port = 0")

    run.ask("camera.remove", name="second")
    assert done(run, "reload") == ["nothing has changed", "done"], "an order stands"
    rewrite(run, "min_reads = 3", "min_reads = 4")
    (added, _) = done(run, "reload")
    assert added.startswith("camera second: added"), "what the file says anew goes before it"
    rewrite(run, run.config.read_text().partition('name = "second"')[2].partition("[api]")[0], "\n")
    rewrite(run, '[[cameras]]\nname = "second"\n', "")
    run.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "camera second: removed" in run.said(), 10.0, "a signal does it, too")
    wait_until(lambda: "decoder-second" not in run.pids(), 10.0, "it has ended")


def refuses_what_is_wrong(run: EngineRun) -> None:
    right, before = run.config.read_text(), run.pids()
    for wrong, said in (
        ("[redis]\nkeep_days = -1\n", "redis.keep_days: must be more than 0.0 — it is -1"),
        ('[[cameras]]\nname = "odd"\nurl = "gopher://hole"\n', "cameras[1].url: gopher://hole: "),
    ):
        run.config.write_text(right + wrong)
        refused = order(run, "reload")
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"platering: {said}")
        assert f"the configuration stays as it is: {said}" in run.said()
    assert run.pids() == before
    run.config.write_text(right)


def goes_back(run: EngineRun) -> None:
    right = run.config.read_text()
    run.config.write_text(right + '[sinks.mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    failed = order(run, "reload")
    assert failed.returncode == 1
    assert "sinks.mqtt: its library is not installed" in failed.stderr
    assert "the configuration of before is taken again" in failed.stderr
    wait_until(lambda: not run.status().renewing, 15.0, "the publisher works again")
    run.config.write_text(right + '[traces]\nendpoint = "http://127.0.0.1:9/"\n')
    rewrite(run, "[api]", "[api]\nprocesses = 2")
    failed = order(run, "reload")  # for who is replaced, and for one that is new
    assert failed.returncode == 1
    assert "traces.endpoint: the libraries of OpenTelemetry are not installed" in failed.stderr
    assert "the configuration of before is taken again" in failed.stderr
    wait_until(lambda: not run.status().renewing, 15.0, "all work again")
    wait_until(lambda: len(fronts(run)) == 1, 15.0, "the new front has ended")
    run.config.write_text(right)
    assert done(run, "reload") == ["nothing has changed", "done"]
    rewrite(run, "[api]", "[api]\nprocesses = 2")
    assert done(run, "reload")[0] == "api.processes: 1 → 2"
    status = run.status()
    up = [one for one in status.processes if one.kind == Kind.API and one.up]
    assert (len(up), status.renewing) == (2, ()), "it is done when both work"
    run.config.write_text(right)
    assert done(run, "reload")[0] == "api.processes: 2 → 1"


def fronts(run: EngineRun) -> list[str]:
    return [name for name in run.pids() if name.startswith("api")]


def changes_levels(run: EngineRun) -> None:
    assert done(run, "log-level", "warning", "--process", "decoder") == ["warning: decoder-demo"]
    before = run.said()
    run.ask("camera.pause", name="demo")
    wait_until(lambda: run.camera("demo").state is CameraState.PAUSED, 5.0, "paused")
    assert "decoder-demo" not in run.said().removeprefix(before), "it would have said so"
    run.ask("camera.resume", name="demo")
    wait_until(lambda: live(run, "demo"), 10.0, "live again")
    done(run, "log-level", "default")
    refused = order(run, "log-level", "debug", "--process", "nobody")
    assert refused.returncode == 1
    assert "no process 'nobody'; there are supervisor, publisher, " in refused.stderr
