"""``config.toml``: the shipped file works, every mistake is named, no secret is ever shown."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.amendments import Amendments
from engine.config import (
    SECRET_KEYS,
    CameraSettings,
    RedisSettings,
    Section,
    Settings,
    load_settings,
    parse_settings,
)
from engine.errors import ConfigError
from engine.filter_settings import TripLine
from engine.section import Secret
from engine.sink_settings import WebhookSettings

SHIPPED = Path(__file__).resolve().parents[2] / "config.toml"
SECRET = "hunter2"  # noqa: S105  # what must never be seen

camera = {"name": "gate", "url": "demo://"}


def message(table: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_settings(table)
    return str(caught.value)


# --- the shipped file --------------------------------------------------------------------------


def uncommented() -> dict[str, Any]:
    """The shipped file with every commented default put in force, examples left out."""
    examples = r'^# url = "(?!embedded|"|https://hooks).*$'
    text = re.sub(examples, "", SHIPPED.read_text(), flags=re.MULTILINE)
    return tomllib.loads(re.sub(r"^# (?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE))


def shown_keys(table: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in table.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            found |= shown_keys(value[0], f"{prefix}{name}.")
        elif isinstance(value, dict):
            found |= shown_keys(value, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def keys(section: type[Section], prefix: str = "") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if inner:
            found |= keys(inner[0], f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def test_shipped_file_is_what_the_documentation_promises():
    settings = load_settings(SHIPPED)
    assert [c.url for c in settings.cameras] == ["demo://"]
    assert settings.recognizer == "auto"
    assert settings.redis.url == "embedded"
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8080)
    assert settings.data_dir == SHIPPED.parent / "data"


def test_openalpr_settings_of_a_camera_go_before_those_of_all():
    table = {"country": "us", "detect_region": True, "topn": 3, "patterns": ["@@@####"]}
    settings = parse_settings(
        {
            "cameras": [{**camera, "openalpr": table}],
            "openalpr": {"country": "eu", "default_region": "de", "topn": 20},
        }
    )
    used = settings.openalpr.for_camera(settings.cameras[0].openalpr)
    assert (used.country, used.default_region, used.detect_region) == ("us", "de", True)
    assert (used.topn, used.prewarp, used.library) == (3, "", "")
    wrong = message({"cameras": [{**camera, "openalpr": {"patterns": ["[A"]}}]})
    assert "cameras[0].openalpr.patterns[0]" in wrong
    assert "no plate pattern" in wrong


def test_shipped_file_shows_every_key():
    assert shown_keys(uncommented()) == keys(Settings)


def test_shipped_file_shows_the_true_defaults():
    table = uncommented()
    (webhook,) = table["sinks"].pop("webhooks")
    (line,) = table["cameras"][0].pop("trip_lines")
    assert parse_settings(table) == parse_settings(tomllib.loads(SHIPPED.read_text()))
    least = {key: webhook[key] for key in ("name", "url")}
    assert WebhookSettings.model_validate(webhook) == WebhookSettings.model_validate(least)
    assert TripLine.model_validate(line) == TripLine.model_validate({"ends": line["ends"]})


def test_shipped_file_explains_every_key_in_its_line():
    bare = [
        line
        for line in SHIPPED.read_text().splitlines()
        if re.match(r"# [a-z_]+ = ", line) and line.count("#") == 1
    ]
    plain = {"connect_timeout_s", "processes"}  # their names say it all
    assert {line.split()[1] for line in bare} <= plain


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            {"cameras": [camera | {"nmae": "x"}]},
            "cameras[0].nmae: unknown key — did you mean 'name'?",
        ),
        ({"api": {"prot": 1}}, "api.prot: unknown key — did you mean 'port'?"),
        ({"cameras": [{"name": "a"}]}, "cameras[0].url: is missing — add it"),
        (
            {"cameras": [camera, camera | {"fps": "5"}]},
            "cameras[1].fps: must be a number — it is '5'",
        ),
        ({"cameras": [camera | {"enabled": "yes"}]}, "cameras[0].enabled: must be true or false"),
        ({"cameras": [camera | {"slots": 1}]}, "cameras[0].slots: must be 'auto' or at least 2"),
        ({"cameras": [camera | {"slots": 999}]}, "cameras[0].slots: must be 'auto' or at most 256"),
        ({"cameras": [camera | {"regions": ["gb", "GB"]}]}, "cameras[0].regions[1]: must be a"),
        ({"cameras": [camera | {"regions": "gb"}]}, "cameras[0].regions: must be an array"),
        ({"cameras": [camera | {"name": "a b"}]}, "cameras[0].name: must be 1 to 63 letters"),
        ({"cameras": [camera | {"name": "a\n"}]}, "cameras[0].name: must be 1 to 63 letters"),
        ({"cameras": [camera | {"url": ""}]}, "cameras[0].url: must not be empty"),
        ({"cameras": [camera, camera]}, "cameras[1].name: the name 'gate' is already taken by"),
        ({"cameras": camera}, "cameras: must be an array — it is a table: write [[cameras]]"),
        (
            {"sinks": {"webhooks": {"url": "x"}}},
            "sinks.webhooks: must be an array — it is a table: write [[sinks.webhooks]]",
        ),
        (
            {"cameras": [camera | {"clip": "all", "clip_mib": 4}], "spool": {"max_mib": 15}},
            "cameras[0].clip_mib: clips of 4 MiB would push all else out of a spool of 15 MiB",
        ),
        ({"redis": {"url": "http://x"}}, 'redis.url: must be the word "embedded" or a URL'),
        ({"api": {"port": True}}, "api.port: must be a whole number — it is True"),
        ({"api": {"port": 80800}}, "api.port: must be at most 65535 — it is 80800"),
        ({"recognizer": "best"}, "recognizer: must be 'auto', 'builtin' or 'openalpr'"),
        ({"recognizers": {"count": "all"}}, "recognizers.count: must be 'auto' or a whole number"),
        ({"tracker": {"max_gap_s": float("nan")}}, "tracker.max_gap_s: must be a finite number"),
        ({"tracker": {"max_gap_s": 0}}, "tracker.max_gap_s: must be more than 0"),
        ({"data_dir": 3}, "data_dir: must be a path — it is 3"),
        ({"log": {"level": 1, "format": 2}}, "(and 1 more)"),
        ({"Cameras": []}, "Cameras: unknown key — did you mean 'cameras'?"),
        ({"api": {"a b": 1}}, "api.'a b': unknown key"),
        ({"frobnicate": 1}, "frobnicate: unknown key — known keys are data_dir, node,"),
    ],
)
def test_mistake_names_key_path_and_remedy(table, expected):
    assert expected in message(table)


def test_name_given_twice_names_both_entries():
    other = camera | {"name": "yard"}
    text = message({"cameras": [camera, other, camera]})
    assert text == (
        "cameras[2].name: the name 'gate' is already taken by cameras[0] — "
        "give every camera a name of its own"
    )


def test_a_webhook_may_not_have_the_name_of_another_sink():
    text = message({"sinks": {"webhooks": [{"name": "redis", "url": "http://localhost"}]}})
    assert text.startswith("sinks.webhooks[0].name: the name 'redis' is that of another sink")


def test_absent_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file.*--config"):
        load_settings(tmp_path / "none.toml")


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_broken_toml_names_the_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('recognizer = "auto"\n[api\n')
    with pytest.raises(ConfigError, match=r"is no valid TOML: .*line 2"):
        load_settings(path)


def test_file_that_is_no_text(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"is no valid TOML"):
        load_settings(path)


# --- secrets ------------------------------------------------------------------------------------


def test_secret_from_the_environment(monkeypatch):
    monkeypatch.setenv("GATE_PASSWORD", SECRET)
    table = {"cameras": [camera | {"url": "rtsp://me:${GATE_PASSWORD}@192.0.2.7/"}]}
    assert parse_settings(table).cameras[0].url == f"rtsp://me:{SECRET}@192.0.2.7/"


def test_secret_from_a_file(tmp_path):
    secret = tmp_path / "redis-url"
    secret.write_text(f"redis://:{SECRET}@localhost/0\n")
    settings = parse_settings({"redis": {"url": f"file:{secret}"}})
    assert settings.redis.url == f"redis://:{SECRET}@localhost/0"


def test_file_url_of_a_clip_is_no_secret_file():
    url = "file:///videos/clip.mp4"
    assert parse_settings({"cameras": [camera | {"url": url}]}).cameras[0].url == url


def test_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("GATE_PASSWORD", raising=False)
    text = message({"redis": {"url": "redis://:${GATE_PASSWORD}@localhost"}})
    assert (
        text == "redis.url: the environment variable GATE_PASSWORD is not set — set GATE_PASSWORD"
    )


def test_unreadable_secret_file_is_named(tmp_path):
    text = message({"openalpr": {"license_key": f"file:{tmp_path / 'none'}"}})
    assert text.startswith("openalpr.license_key: cannot read")
    assert "No such file" in text


LEAKY: list[dict[str, Any]] = [
    {"cameras": [camera | {"url": f"rtsp://me:{SECRET}@h/", "name": 7}]},
    {"cameras": [camera | {"url": [f"rtsp://me:{SECRET}@h/"]}]},
    {"cameras": [f"rtsp://me:{SECRET}@h/"]},
    {"cameras": {"url": f"rtsp://me:{SECRET}@h/"}},
    {"cameras": f"rtsp://me:{SECRET}@h/"},
    {"cameras": [camera | {"name": f"rtsp://me:{SECRET}@h/"}]},
    {"redis": f"redis://:{SECRET}@h"},
    {"redis": {"url": f"http://:{SECRET}@h"}},
    {"redis": {"url": "http://:${GATE_PASSWORD}@h"}},
    {"redis": {"uri": f"redis://:{SECRET}@h"}},
    {"openalpr": {"license_key": {"text": SECRET}}},
    {"openalpr": {"licence_key": SECRET}},
]


@pytest.mark.parametrize("table", LEAKY)
def test_no_message_shows_a_secret(table, monkeypatch):
    monkeypatch.setenv("GATE_PASSWORD", SECRET)
    assert SECRET not in message(table)


# --- values ---------------------------------------------------------------------------------------


def secret_keys(section: type[Section]) -> set[str]:
    """Return the names of keys, at any depth, whose values may be taken from elsewhere."""
    reveal = Secret.__metadata__[0]
    found = set()
    for name, field in section.model_fields.items():
        found |= {name} if reveal in field.metadata else set()
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                found |= secret_keys(kind)
    return found


def test_every_key_that_takes_secrets_is_known_as_secret():
    assert {"url", "authorization", "endpoint"} <= secret_keys(Settings) <= SECRET_KEYS


def test_every_value_is_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        parse_settings({}).api.port = 1


def test_no_camera_is_a_valid_configuration():
    assert parse_settings({}).cameras == ()


def test_data_dir_is_beside_the_file_or_absolute_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "config.toml"
    for text, expected in [("data", tmp_path / "data"), ("/a", "/a"), ("~/b", "/home/me/b")]:
        path.write_text(f'data_dir = "{text}"')
        assert load_settings(path).data_dir == Path(expected)


def test_node_name_is_never_empty():
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", parse_settings({}).node_name)
    assert parse_settings({"node": "north"}).node_name == "north"


def test_sections_survive_the_way_to_a_child():
    table = {"cameras": [camera | {"regions": ["gb", "us-ca"], "fps": 5, "slots": 4}]}
    sent = parse_settings(table).cameras[0]
    assert CameraSettings.model_validate_json(sent.model_dump_json()) == sent
    redis = RedisSettings(url="unix:///run/redis.sock")
    assert RedisSettings.model_validate_json(redis.model_dump_json()) == redis


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
known_keys = st.sampled_from(sorted(Settings.model_fields))
camera_keys = st.sampled_from(sorted(CameraSettings.model_fields))


@given(
    st.dictionaries(known_keys | st.text(), json_values, max_size=4)
    | st.dictionaries(
        st.just("cameras"), st.lists(st.dictionaries(camera_keys, json_values), min_size=1)
    )
)
def test_any_table_is_accepted_or_refused_in_one_line(table):
    refusal = None
    try:
        parse_settings(table)
    except ConfigError as error:
        refusal = error
    if refusal is not None:
        assert refusal.key
        assert str(refusal).startswith(refusal.key)
        assert "\n" not in str(refusal).removeprefix(refusal.key)


def test_literals_of_the_file_are_all_documented():
    """Every choice a key offers stands in its line of the shipped file."""
    lines = SHIPPED.read_text().splitlines()
    for section in (Settings, *(f.annotation for f in Settings.model_fields.values())):
        if not (isinstance(section, type) and issubclass(section, Section)):
            continue
        for name, field in section.model_fields.items():
            choices = [c for c in get_args(field.annotation) if isinstance(c, str)]
            if choices:
                shown = " ".join(line for line in lines if re.match(rf"#? ?{name} = ", line))
                assert all(f'"{choice}"' in shown for choice in choices), name


@pytest.mark.parametrize(
    ("camera", "says"),
    [
        ('{"name": "gate", "url": "rtsp://u:top-secret@h/", "fps": "x"}', "cameras.gate.fps"),
        ('{"name": "gate", "url": ["rtsp://u:top-secret@h/"]}', "cameras.gate.url"),
        ('{"name": "gate", "url": "rtsp://u:top-secret@h/', "it: Invalid JSON"),
    ],
)
def test_changes_of_earlier_runs_that_are_damaged_show_no_password(tmp_path, camera, says):
    path = tmp_path / "amendments.json"
    path.write_text(f'{{"cameras": {{"gate": {camera}}}}}')
    with pytest.raises(
        ConfigError, match=r"amendments\.json: is damaged: .* — move it away"
    ) as told:
        Amendments(path)
    assert says in str(told.value)
    assert "top-secret" not in str(told.value)
