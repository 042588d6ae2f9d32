"""Which sinks are opened; a library that is missing is named with its extra."""

import sys
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.sections import PublisherSection
from engine.sink_settings import SinksSettings
from engine.sinks.registry import open_sinks

CHOICES = {
    "webhooks": ("urllib3", {"webhooks": [{"name": "w", "url": "http://localhost"}]}),
    "mqtt": ("paho.mqtt", {"mqtt": {"url": "mqtt://localhost"}}),
    "rabbitmq": ("pika", {"rabbitmq": {"url": "amqp://localhost"}}),
    "kafka": ("confluent_kafka", {"kafka": {"servers": "localhost:9092"}}),
}


def section(folder: Path, **sinks: object) -> PublisherSection:
    return PublisherSection(
        run="r", node="n", directory=folder, sinks=SinksSettings.model_validate(sinks)
    ).model_copy(update={"redis": PublisherSection.model_fields["redis"].default.model_copy(
        update={"url": "redis://localhost"}
    )})  # fmt: skip


def names(plans):
    for plan in plans:
        plan.sink.close()
    return [plan.sink.name for plan in plans]


def test_redis_alone_where_nothing_else_is_configured(tmp_path):
    assert names(open_sinks(section(tmp_path))) == ["redis"]


@pytest.mark.parametrize("extra", CHOICES)
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, extra):
    library, sinks = CHOICES[extra]
    for name in list(sys.modules):
        if name.startswith("engine.sinks."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError) as caught:
        open_sinks(section(tmp_path, **sinks))
    assert f"platering[{extra}]" in str(caught.value)
    assert caught.value.key.startswith(f"sinks.{extra}")


def test_all_at_once_each_with_its_own_place_and_hits_in_a_lane_of_their_own(tmp_path):
    sinks = {name: part for _, both in CHOICES.values() for name, part in both.items()}
    sinks["webhooks"][0]["hits_first"] = True
    assert names(open_sinks(section(tmp_path, **sinks))) == [
        "redis", "webhook:w.hits", "webhook:w.others", "mqtt", "rabbitmq", "kafka",
    ]  # fmt: skip
