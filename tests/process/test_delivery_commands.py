"""``platering deadletters`` and ``platering lists`` as their users run them."""

import json

import pytest
from brokers import mosquitto
from sightings import event
from webhook_receiver import receiving

from engine.cli import main
from engine.deadletters import FILE_NAME, DeadLetters
from engine.store import Store, sighting_key
from engine.types import Evidence, Sighting
from engine.watchlists.entries import FILE_NAME as WATCHLISTS
from engine.watchlists.matcher import Matcher

CSV = "plate,match,label\nAB12CDE,near,van\nXY*,pattern,\n"


@pytest.fixture
def run(tmp_path, capsys):
    config = tmp_path / "config.toml"
    config.touch()

    def one(*words):
        code = main([*words, "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return one


@pytest.fixture
def letters(tmp_path):
    one = DeadLetters(tmp_path / "data" / "engine" / FILE_NAME)
    yield one
    one.close()


def test_dead_letters_are_shown_sent_again_and_dropped(tmp_path, run, letters):
    with receiving() as receiver:
        (tmp_path / "config.toml").write_text(
            f'[[sinks.webhooks]]\nname = "hook"\nurl = "{receiver.url}"\nallow_private = true\n'
            'secret = "s"\n'
        )
        for number in range(4):
            letters.add("hook", event(number, pictures=Evidence(b"crop")), "it answered 400")
        letters.add("other", event(9), "it answered 410")
        code, out, _ = run("deadletters", "list", "--target", "hook")
        assert (code, len(out.splitlines())) == (0, 4)
        assert "AB0CD" in out
        assert "it answered 400" in out
        shown = [json.loads(line) for line in run("deadletters", "list", "--json")[1].splitlines()]
        assert [one["sighting"]["id"] for one in shown] == ["id-0", "id-1", "id-2", "id-3", "id-9"]
        assert run("deadletters", "resend", "2") == (0, "1 sent again\n", "")
        receiver.answer = lambda posted: (500 if posted.event[0] == "id-2" else 204, {})
        code, out, _ = run("deadletters", "resend", "--target", "hook")
        assert code == 1
        assert out.startswith("1 sent again; 3 to hook: it answered 500")
        assert [one.event[0] for one in receiver.taken] == ["id-1", "id-0"]
        assert all("X-Platering-Signature" in one.headers for one in receiver.taken)
        assert run("deadletters", "resend", "5")[1].endswith("no sink of this name is configured\n")
        assert run("deadletters", "drop", "3", "4") == (0, "2 dropped\n", "")
        assert run("deadletters", "drop") == (0, "1 dropped\n", "")
        assert run("deadletters", "list") == (0, "", "")


def test_letters_of_redis_and_of_brokers_are_sent_again(tmp_path, run, letters, redis_server):
    store = f'[redis]\nurl = "{redis_server.url}"\n'
    with mosquitto() as broker:
        (tmp_path / "config.toml").write_text(f'{store}[sinks.mqtt]\nurl = "{broker.url}"\n')
        letters.add("redis", event(1), "WRONGTYPE")
        letters.add("mqtt", event(2), "Not authorized")
        with redis_server.connect() as client:
            client.set(sighting_key("id-1"), "in the way")
            code, out, _ = run("deadletters", "resend")
            assert code == 1
            assert "0 sent again; 1 to redis: Redis: platering:{s:id-1}: WRONGTYPE" in out
            client.delete(sighting_key("id-1"))
            assert run("deadletters", "resend") == (0, "2 sent again\n", "")
            assert [one.id for one in Store(client).latest(5)] == ["id-1"]
            letters.add("redis", event(1), "an older revision: what is there stays")
            client.hset(sighting_key("id-1"), "plate", "NEWER")
            assert run("deadletters", "resend") == (0, "1 sent again\n", "")
            assert client.hget(sighting_key("id-1"), "plate") == b"NEWER"
            assert len(Store(client).read_stream("0-0")) == 1


def test_lists_are_imported_shown_exported_and_removed(tmp_path, run):
    given, out_file = tmp_path / "given.csv", tmp_path / "out.csv"
    given.write_text("\ufeff" + CSV)
    assert run("lists", "import", "stolen", str(given)) == (
        0, "2 imported, stolen has 2 entries\n", "",
    )  # fmt: skip
    assert run("lists", "show")[1].split() == ["stolen", "2", "entries"]
    assert run("lists", "show", "stolen")[1].split("\n")[0].split() == [
        "AB12CDE", "near", "info", "van",
    ]  # fmt: skip
    assert run("lists", "export", "stolen", str(out_file)) == (0, "2 exported\n", "")
    assert out_file.read_text().splitlines()[1] == "AB12CDE,near,van,info,,"
    matcher = Matcher(tmp_path / "data" / "engine" / WATCHLISTS)
    assert [hit.list for hit in matcher.match("XY99", 0)] == ["stolen"]
    matcher.close()
    assert run("lists", "import", "stolen", str(out_file), "--replace")[1].startswith("2 imported")
    assert run("lists", "remove", "stolen", "ab 12 cde") == (0, "1 removed\n", "")
    assert run("lists", "remove", "stolen", "xy*") == (0, "1 removed\n", "")
    assert run("lists", "show") == (0, "", "")


def test_mistakes_are_one_line_and_exit_code_2(tmp_path, run):
    given = tmp_path / "given.csv"
    given.write_text(CSV + "--,,\n")
    code, out, err = run("lists", "import", "stolen", str(given))
    assert (code, out) == (2, "")
    assert "given.csv: line 4: '--' is no plate" in err
    assert err.count("\n") == 1
    code, _, err = run("lists", "export", "stolen")
    assert code == 2
    assert "there is no such list" in err
    assert run("lists", "import", "a/b", str(given))[0] == 2
    given.write_bytes(b"plate\n\xff\n")
    assert run("lists", "import", "stolen", str(given))[0] == 2


def test_the_schema_names_every_field_of_a_sighting(capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    sighting = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    assert set(sighting["properties"]) == set(Sighting.__struct_fields__)
    assert {"id", "revision", "plate", "camera"} <= set(sighting["required"])
