"""Keys and people: how they are kept, and the commands that make and remove them."""

import concurrent.futures
import os
import re
import stat

import pytest

from engine.audit import AuditLog
from engine.cli import main
from engine.errors import PreflightError
from engine.keys import FILE_NAME, Keys
from engine.people import People, is_password_of
from engine.records import FOLDER
from engine.scopes import Scope

# --- keys and people ------------------------------------------------------------------------------


def test_a_key_is_kept_as_a_hash_that_its_owner_alone_may_read(tmp_path):
    folder = tmp_path / "deep" / FOLDER
    keys = Keys(folder)
    key, text = keys.add(Scope.INGEST, "gate")
    assert keys.known(text) == key
    assert Keys(folder).known(text) == key
    kept = folder / FILE_NAME
    assert text.split("_", 2)[2].encode() not in kept.read_bytes()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(text) == len(keys.add(Scope.READ)[1]) == 56


def test_a_change_of_another_process_counts_at_once(tmp_path):
    ours, theirs = Keys(tmp_path), Keys(tmp_path)
    assert ours.all() == ()
    key, text = theirs.add(Scope.READ)
    assert ours.known(text) == key
    assert theirs.remove(key.id)
    assert not theirs.remove(key.id)
    assert ours.known(text) is None


def test_nothing_is_lost_when_many_add_at_once(tmp_path):
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        made = list(pool.map(_add_ten, [str(tmp_path)] * 4))
    keys = Keys(tmp_path)
    assert len(keys.all()) == 40
    assert all(keys.known(text) for texts in made for text in texts)


def _add_ten(folder):
    from pathlib import Path  # noqa: PLC0415  # in another process

    return [Keys(Path(folder)).add(Scope.READ)[1] for _ in range(10)]


def test_a_damaged_file_lets_nobody_in_and_says_what_to_do(tmp_path):
    (tmp_path / FILE_NAME).write_text('[{"id": "x"}]')
    with pytest.raises(PreflightError, match=r"keys\.json is damaged: .* — put back a copy"):
        Keys(tmp_path).all()


def test_passwords(tmp_path):
    people = People(tmp_path)
    people.put("anna", "viewer", "pässword")
    anna = people.of("anna")
    assert is_password_of(anna, "pässword")
    assert not is_password_of(anna, "pässwore")
    assert not is_password_of(None, "pässword")
    assert b"word" not in (tmp_path / "people.json").read_bytes().replace(b"password", b"")
    people.put("anna", "admin", "another one")
    assert [person.scope for person in people.all()] == [Scope.ADMIN]
    assert people.of("anna").salt != anna.salt


# --- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    config = tmp_path / "config.toml"
    config.touch()

    def one(*words, typed=""):
        read, write = os.pipe()
        os.write(write, typed.encode())
        os.close(write)
        with os.fdopen(read) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            code = main([*words, "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return one


def test_platering_keys(command, tmp_path):
    code, key, said = command("keys", "add", "--scope", "admin", "--name", "the desk")
    assert code == 0
    key = key.strip()
    found = Keys(tmp_path / "data" / FOLDER).known(key)
    assert (found.scope, found.name) == (Scope.ADMIN, "the desk")
    assert said == f"key {found.id} (the desk), scope admin; it is shown this once:\n"
    code, listed, _ = command("keys", "list")
    assert re.fullmatch(rf"{found.id}  admin    made [\d-]+ [\d:]+  the desk\n", listed)
    assert command("keys", "remove", "nonsense")[0] == 2
    assert command("keys", "remove", found.id) == (0, f"key {found.id} removed\n", "")
    assert command("keys", "list") == (0, "", "")
    log = AuditLog(tmp_path / "data" / FOLDER, 1 << 20).page("", 9).entries
    assert [entry.action for entry in log] == ["platering keys remove", "platering keys add"]
    assert all(entry.who.endswith(" at a terminal") for entry in log)
    assert key not in str(log)


def test_platering_people(command, tmp_path):
    done = command("people", "add", "anna", "--role", "operator", typed="correct horse\n")
    assert done == (0, "anna may log in as operator\n", "")
    assert command("people", "list") == (0, "anna                     operator\n", "")
    anna = People(tmp_path / "data" / FOLDER).of("anna")
    assert is_password_of(anna, "correct horse")
    short = command("people", "add", "anna", "--role", "admin", typed="short\n")
    assert short[0] == 2
    assert "password: has 8 to 256 characters — choose another" in short[2]
    assert command("people", "add", "an na", "--role", "admin", typed="correct horse")[0] == 2
    assert command("people", "remove", "anna")[0] == 0
    assert command("people", "remove", "anna")[0] == 2
