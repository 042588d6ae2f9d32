"""What a reload says has changed: every key once, in words of the file, and nothing secret."""

from engine.config import Settings, parse_settings
from engine.differences import differences

HOOK = {"name": "barrier", "url": "https://u:old@hooks.example.com/a", "secret": "one"}


def changed(before: dict, after: dict) -> list[str]:
    return list(differences(parse_settings(before), parse_settings(after)))


def test_nothing_is_different_between_equals():
    assert changed({"sinks": {"webhooks": [HOOK]}}, {"sinks": {"webhooks": [HOOK]}}) == []


def test_values_stand_as_in_the_file():
    after = {
        "tracker": {"max_gap_s": 3.0},
        "recognizers": {"count": 4, "pin": True},
        "api": {"trusted_proxies": ["10.0.0.0/8"]},
        "log": {"level": "debug"},
    }
    assert changed({}, after) == [
        'recognizers.count: "auto" → 4',
        "recognizers.pin: false → true",
        "tracker.max_gap_s: 2.0 → 3.0",
        'api.trusted_proxies: [] → ["10.0.0.0/8"]',
        'log.level: "info" → "debug"',
    ]


def test_secrets_are_not_told():
    after = HOOK | {"url": "https://u:new@hooks.example.com/a", "secret": "two"}
    lines = changed(
        {"sinks": {"webhooks": [HOOK]}, "openalpr": {"license_key": "L1"}},
        {"sinks": {"webhooks": [after]}, "openalpr": {"license_key": "L2"}},
    )
    assert lines == [
        "openalpr.license_key: another value, not shown",
        "sinks.webhooks[barrier].url: another password",
        "sinks.webhooks[barrier].secret: another value, not shown",
    ]


def test_what_traces_are_sent_with_is_not_told():
    (line,) = changed({}, {"traces": {"endpoint": "https://u:pw@collect.example/v1?token=t0k3n"}})
    assert line == 'traces.endpoint: "" → "https://u:***@collect.example/v1?token=***"'


def test_tables_with_names_are_compared_by_them():
    other = HOOK | {"name": "gate"}
    lines = changed({"sinks": {"webhooks": [HOOK]}}, {"sinks": {"webhooks": [other, HOOK]}})
    assert lines == ["sinks.webhooks[gate]: added"]
    lines = changed({"sinks": {"webhooks": [other, HOOK]}}, {"sinks": {"webhooks": [other]}})
    assert lines == ["sinks.webhooks[barrier]: removed"]


def test_long_values_are_cut():
    zones = [[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]] * 3
    camera = {"name": "a", "url": "demo://"}
    (line,) = differences(
        parse_settings({"cameras": [camera]}).cameras[0],
        parse_settings({"cameras": [camera | {"masks": zones}]}).cameras[0],
        "camera a: ",
    )
    assert line.startswith("camera a: masks: [] → [[[0.1, 0.1], [0.9")
    assert line.endswith("…")


def test_somebody_goes_by_every_section():
    """A new section needs a place: in what a child is started by, or in ``engine.reload``."""
    in_sections_of_children = {
        "node", "recognizer", "openalpr", "tracker", "redis", "spool", "sinks", "privacy",
        "uploads", "api", "recognizers", "traces",
    }  # fmt: skip
    in_reload_itself = {"data_dir", "canary", "cameras", "log", "recognizers"}
    assert Settings.model_fields.keys() == in_sections_of_children | in_reload_itself
    assert Settings.model_fields["recognizers"].annotation.model_fields.keys() == {
        "count", "provider", "batch", "batch_wait_ms", "deadline_s", "pin", "quarantine"
    }  # fmt: skip
