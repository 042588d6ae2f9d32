"""Clips of sightings through a whole engine: from packets to a player, and away again."""

import http.client
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import av
import msgspec
import pytest
from clips import road_clip
from engine_run import EngineRun, events_of, running
from polling import wait_until

from engine.cli import main
from engine.sources.scene import DemoScene
from engine.store import evidence_key
from engine.types import Sighting

SIZE = (960, 540)
SCENE = DemoScene(7, *SIZE, density=3.0)
TTL_S = 7 * 86_400


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s of the demo's road as H.264, a key frame a second."""
    return road_clip(tmp_path_factory.mktemp("road") / "road.mp4", SCENE, seconds=20)


def config(road: Path, camera: str) -> str:
    return (
        f'data_dir = "data"\n[[cameras]]\nname = "gate"\nurl = "{road}"\nloop = true\n{camera}\n'
        "[api]\nport = 0\n"
    )


def fetched(run: EngineRun, path: str, span: str = "") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Range": span} if span else {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]
    finally:
        connection.close()


def stored(run: EngineRun) -> Iterator[Sighting]:
    page = msgspec.json.decode(run.get("/api/v1/sightings?limit=100"))
    yield from msgspec.convert(page["sightings"], list[Sighting])


def clipped(run: EngineRun) -> Sighting | None:
    return next((one for one in stored(run) if one.has_clip), None)


def test_sightings_get_clips_that_play_and_go_with_their_evidence(
    tmp_path: Path, road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, config(road, 'clip = "all"')) as run, events_of(run) as events:
        with_clip = wait_until(
            lambda: [one for one in stored(run) if one.has_clip][2:],
            60.0,
            "sightings have clips",
        )
        found = next(one for one in stored(run) if one.has_clip and one not in with_clip)
        path = f"/api/v1/sightings/{found.id}/clip"
        status, video, kind = fetched(run, path)
        assert (status, kind) == (200, "video/mp4")
        with av.open(io.BytesIO(video)) as container:
            frames = list(container.decode(video=0))
        assert {(frame.width, frame.height) for frame in frames} == {SIZE}
        assert 2.0 < frames[-1].time - frames[0].time < 8.0
        assert fetched(run, path, "bytes=0-99")[:2] == (206, video[:100])
        assert fetched(run, "/api/v1/sightings/nobody/clip")[0] == 404
        told = [one for _, one in list(events.taken) if one.id == found.id]
        assert [one.revision for one in told] == list(range(1, len(told) + 1))
        assert told[0].has_clip is False
        with run.redis() as client:
            key = evidence_key(found.id)
            assert client.hget(key, "clip") == video
            assert 0 < client.ttl(key) <= TTL_S
            assert run.metrics()["platering_clips_total{}"] >= 1
            assert 0 < run.metrics()["platering_clip_kept_bytes{}"] <= 8 << 20
            assert main(["forget", found.plate, "--config", str(run.config)]) == 0
            assert client.exists(key) == 0
        assert fetched(run, path)[0] == 404
        capsys.readouterr()
        _goes_on_over_the_deaths_of_both_ends(run)
        run.stop()


def _goes_on_over_the_deaths_of_both_ends(run: EngineRun) -> None:
    """Kill the decoder, then the publisher: the next sightings have clips again."""
    for name in ("decoder-gate", "publisher"):
        os.kill(run.pids()[name], signal.SIGKILL)
        known = {one.id for one in stored(run)}
        wait_until(
            lambda known=known: {one.id for one in stored(run) if one.has_clip} - known,
            40.0,
            f"a clip after {name} was killed",
        )


def test_only_hits_get_clips_where_only_they_are_wanted(
    tmp_path: Path, road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = SCENE.truth(12.0)[1].plate
    keys = 'clip = "hits"\nclip_before_s = 1.0\nclip_after_s = 1.0\nformat = "bgr24"'
    toml = config(road, keys)
    (tmp_path / "run.toml").write_text(toml)
    entries = tmp_path / "stolen.csv"
    entries.write_text(f"plate\n{wanted}\n")
    assert (
        main(["lists", "import", "stolen", str(entries), "--config", str(tmp_path / "run.toml")])
        == 0
    )
    capsys.readouterr()
    with running(tmp_path, toml) as run:
        found = wait_until(lambda: clipped(run), 60.0, "the hit has a clip")
        assert found.hits
        others = [one for one in stored(run) if not one.hits]
        assert others
        assert not any(one.has_clip for one in others)
        run.stop()
