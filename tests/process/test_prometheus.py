"""Prometheus itself on a running engine: rules, alerts, and every query of every dashboard.

Grafana is not in Debian: its dashboards are checked as files and by their queries, not rendered.
"""

import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from engine_run import demo, running
from polling import wait_until

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
DATA_S = 40.0
"""How long the last panel may take to have data, on a busy machine of two cores."""

pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool: apt install prometheus"
)


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_sound():
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "platering.rules.yml", "platering.alerts.yml")


def test_alerts_fire_when_they_should_and_at_no_other_time():
    promtool("test", "rules", "platering.test.yml")


def test_every_alert_is_tried_and_says_what_to_do_first():
    text = (RULES / "platering.alerts.yml").read_text()
    alerts = text.split("- alert: ")[1:]
    assert len(alerts) >= 20
    tried = set(re.findall(r"alertname: (\w+)\n", (RULES / "platering.test.yml").read_text()))
    assert tried == {alert.partition("\n")[0] for alert in alerts}, "an alert without a test"
    for alert in alerts:
        name = alert.partition("\n")[0]
        assert len(re.findall(r"^ +severity: (critical|warning)$", alert, re.MULTILINE)) == 1, name
        for annotation in ("summary", "runbook"):
            assert re.search(rf"^ +{annotation}: '.{{20,}}'$", alert, re.MULTILINE), name


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"platering-{path.stem}"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    known = {one["name"] for one in dashboard["templating"]["list"]} | {"__rate_interval"}
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "prometheus"
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= known, target["expr"]
        squares = [cells(other) for other in panels if other is not panel]
        assert not any(cells(panel) & other for other in squares), panel["title"]


def cells(panel) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    rows, columns = range(place["h"]), range(place["w"])
    return {(place["x"] + column, place["y"] + row) for row in rows for column in columns}


def queries() -> list[tuple[str, str]]:
    """Return which panel asks what, with Grafana's variables as it would fill them in."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", "30s")
                expr = expr.replace("$instance", ".*").replace("$camera", ".*")
                found.append((f"{path.stem}: {panel['title']}", expr))
    return found


class Server:
    """Debian's Prometheus with our files, once a second, on a free port and a folder of its own."""

    def __init__(self, folder: Path, scraped_port: int) -> None:
        shutil.copytree(RULES, folder / "etc")
        config = folder / "etc" / "prometheus.yml"
        text = config.read_text()
        assert "127.0.0.1:8080" in text
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{scraped_port}")
        config.write_text(text.replace("_interval: 15s", "_interval: 1s"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._is_ready, 20.0, "Prometheus answers")

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        try:
            return bool(self.query("vector(1)"))
        except OSError:
            return False

    def get(self, path: str, **arguments: object) -> dict:
        url = f"http://127.0.0.1:{self._port}{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expr: str) -> list[float]:
        """Return the numbers that an expression has now."""
        found = self.get("/api/v1/query", query=expr)["result"]
        values = [float(each["value"][1]) for each in found]
        return [value for value in values if not math.isnan(value)]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10.0)
        self._log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One that has scraped an engine with the demo camera and a canary; the engine still runs."""
    folder = tmp_path_factory.mktemp("prometheus")
    with running(folder, demo(rest="[canary]\nevery_s = 3.0")) as run:
        wait_until(lambda: run.camera("demo").ring is not None, 20.0, "its ring is made")
        server = Server(folder, run.port)
        try:
            yield server
        finally:
            server.close()


def test_every_panel_of_every_dashboard_has_data(server):
    missing = queries()
    assert len(missing) > 60
    deadline = time.monotonic() + DATA_S
    while missing and time.monotonic() < deadline:
        missing = [(panel, expr) for panel, expr in missing if not server.query(expr)]
        time.sleep(0.5)
    assert not missing, "\n".join(f"{panel}: {expr}" for panel, expr in missing)


def test_rules_are_evaluated_and_nothing_critical_is_wrong_with_a_demo(server):
    rules = [rule for group in server.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 25
    unsound = [rule["name"] for rule in rules if rule["health"] != "ok"]
    assert not unsound
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    critical = [
        rule["name"] for rule in rules if rule.get("labels", {}).get("severity") == "critical"
    ]
    assert not set(firing) & set(critical)


def test_exemplars_lead_to_sightings(server):
    now = time.time()
    wait_until(
        lambda: server.query('platering_stage_seconds_count{stage="capture_to_stored"} > 0'),
        DATA_S,
        "a sighting is stored",
    )

    def sightings() -> set[str]:
        found = server.get(
            "/api/v1/query_exemplars",
            query="platering_stage_seconds_bucket",
            start=now - 600,
            end=time.time() + 1,
        )
        return {
            exemplar["labels"]["sighting"] for series in found for exemplar in series["exemplars"]
        }

    wait_until(sightings, 10.0, "an exemplar is kept")
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", one) for one in sightings())
