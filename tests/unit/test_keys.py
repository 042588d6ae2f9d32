"""Keys, people, limits and what the start checks: the parts, without the front around them."""

import concurrent.futures
import ipaddress
import os
import re
import socket
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import patience
from api.connections import Server
from api.limits import Buckets, Proxies
from api.patience import PatientReader, SlowClientError
from engine.audit import FILES, AuditLog, Entry
from engine.board import Count
from engine.cli import main
from engine.config import ApiSettings, Settings, parse_settings
from engine.errors import ConfigError, PreflightError
from engine.exposure import check_exposure
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
    assert text.split("_")[2].encode() not in kept.read_bytes()
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


# --- the start ------------------------------------------------------------------------------------


@pytest.fixture
def everywhere():
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104  # nobody is served there
        yield listener


@pytest.fixture
def here():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_other_machines_are_kept_out_until_there_is_a_key(tmp_path, everywhere, here):
    settings = Settings(data_dir=tmp_path, api=ApiSettings(host="0.0.0.0"))  # noqa: S104  # same
    with pytest.raises(ConfigError) as refused:
        check_exposure(settings, everywhere)
    assert str(refused.value) == (
        "api.host: other machines reach 0.0.0.0, and there is no key yet to keep them out — "
        "make one: platering keys add --scope admin; or write 127.0.0.1"
    )
    proxied = Settings(data_dir=tmp_path, api=ApiSettings(trusted_proxies=("127.0.0.1",)))
    with pytest.raises(ConfigError, match=r"^api\.trusted_proxies: a proxy lets other machines in"):
        check_exposure(proxied, here)
    check_exposure(Settings(data_dir=tmp_path), here)
    Keys(tmp_path / FOLDER).add(Scope.READ)
    check_exposure(settings, everywhere)
    check_exposure(proxied, here)


def test_tls_files_that_cannot_work_are_named(tmp_path, here):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    api = ApiSettings(tls_certificate=str(certificate), tls_key=str(key))
    with pytest.raises(ConfigError, match=r"^api\.tls_certificate: cannot read .*cert\.pem"):
        check_exposure(Settings(data_dir=tmp_path, api=api), here)
    certificate.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"^api\.tls_key: cannot read .*key\.pem"):
        check_exposure(Settings(data_dir=tmp_path, api=api), here)
    key.write_text("no key")
    with pytest.raises(ConfigError, match=r"^api\.tls_certificate: TLS does not take it"):
        check_exposure(Settings(data_dir=tmp_path, api=api), here)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tls_key": "x"}, "api.tls_certificate: is missing — TLS needs both files"),
        ({"tls_certificate": "x"}, "api.tls_key: is missing — TLS needs both files"),
        (
            {"trusted_proxies": ["example.com"]},
            "api.trusted_proxies[0]: must be an address or a network like 10.0.0.0/8 — it is "
            + repr("example.com"),
        ),
        ({"session_hours": 0}, "api.session_hours: must be more than 0.0 — it is 0"),
    ],
)
def test_settings_of_the_front_are_checked(table, said):
    with pytest.raises(ConfigError) as refused:
        parse_settings({"api": table})
    assert str(refused.value) == said


# --- limits ---------------------------------------------------------------------------------------


def test_a_bucket_allows_its_burst_and_then_its_rate():
    now = [100.0]
    buckets = Buckets(2.0, 4.0, lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now[0] += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now[0] += 3_600
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert {Buckets(0, 1).take("a") for _ in range(9)} == {0}


def test_buckets_of_many_names_take_no_more_memory(monkeypatch):
    monkeypatch.setattr("api.limits.MOST_BUCKETS", 10)
    buckets = Buckets(1.0, 1.0)
    for number in range(1_000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10


OURS = Proxies(("10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),  # no proxy of ours: whoever it is may lie
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (
            "10.0.0.1",
            "6.6.6.6, 198.51.100.1",
            "198.51.100.1",
        ),  # the first one is the visitor's word
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", " 198.51.100.1 ", "198.51.100.1"),
    ],
)
def test_the_word_of_a_proxy_counts_only_if_it_is_trusted(peer, said, address):
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": said}
    origin = OURS.origin(environ)
    assert (origin.address, origin.is_forwarded, origin.is_secure) == (address, bool(said), False)
    secure = OURS.origin(environ | {"HTTP_X_FORWARDED_PROTO": "https"}).is_secure
    assert secure == OURS.includes(peer)


@given(st.text(), st.ip_addresses())
def test_no_word_of_a_stranger_makes_another_of_him(said, peer):
    environ = {"REMOTE_ADDR": str(peer), "HTTP_X_FORWARDED_FOR": said}
    assert Proxies(()).origin(environ).address == str(peer)
    ipaddress.ip_network(Proxies(()).origin(environ).network)
    OURS.origin({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": said})


def test_addresses_of_one_customer_count_as_one():
    one, other = ({"REMOTE_ADDR": f"2001:db8:1:2::{n}"} for n in (1, 2))
    assert OURS.origin(one).network == OURS.origin(other).network == "2001:db8:1:2::/64"


class Counted:
    """A row that remembers what was counted."""

    def __init__(self):
        self.counts = []

    def count(self, which):
        self.counts.append(which)


def test_connections_of_one_address_are_bounded_but_not_of_this_machine_and_proxies(here):
    settings = ApiSettings(connections_per_address=2, trusted_proxies=("10.0.0.0/8",))
    server = Server(here, None, settings, Counted())

    def welcome(address, count):
        if not count:
            return []
        with server._counted((address, 1)) as found:
            return [found, *welcome(address, count - 1)]

    assert welcome("192.0.2.1", 4) == [True, True, False, False]
    assert welcome("192.0.2.1", 2) == [True, True]
    assert set(welcome("127.0.0.1", 9) + welcome("10.1.1.1", 9)) == {True}
    assert server.row.counts == [Count.CONNECTIONS_CUT] * 2
    assert not server._open


# --- patience -------------------------------------------------------------------------------------


@pytest.fixture
def wire():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield PatientReader(ours), theirs


def test_a_client_that_drips_does_not_get_more_time(wire, monkeypatch):
    monkeypatch.setattr(patience, "HEADERS_WITHIN_S", 0.3)
    reader, client = wire
    reader.expect_headers()
    with pytest.raises(SlowClientError, match="too slowly"):
        _drip(reader, client, 0.05)


def _drip(reader, client, rest_s=0.0, piece=b"x"):
    """Send and read one piece after the other, for as long as the reader has patience."""
    while True:
        client.send(piece)
        reader.read(len(piece))
        _rest(rest_s)


def _rest(seconds):
    from time import sleep  # noqa: PLC0415  # the pace of a slow client is what is tested

    sleep(seconds)


def test_a_silent_client_is_not_waited_for(wire, monkeypatch):
    monkeypatch.setattr(patience, "IDLE_S", 0.1)
    reader, _client = wire
    reader.expect_line()
    with pytest.raises(SlowClientError):
        reader.read(1)


def test_headers_without_end_are_refused(wire):
    reader, client = wire
    reader.expect_headers()
    with pytest.raises(SlowClientError, match="too long"):
        _drip(reader, client, piece=b"x" * 8_192)


def test_a_large_body_may_take_long_if_it_comes_fast_enough(wire, monkeypatch):
    monkeypatch.setattr(patience, "BODY_GRACE_S", 0.1)
    monkeypatch.setattr(patience, "SLOWEST_BYTES_PER_S", 1_000)
    reader, client = wire
    reader.expect_body()
    for _ in range(5):
        client.send(b"x" * 200)
        assert len(reader.read(200)) == 200
        _rest(0.1)
    with pytest.raises(SlowClientError):
        _drip(reader, client, 0.1)


# --- the audit log --------------------------------------------------------------------------------


def entry(number):
    return Entry(at_unix_ms=number, who="anna", address="192.0.2.1", action="x", what="y" * 900)


def test_the_audit_log_keeps_its_newest_and_stays_within_its_size(tmp_path):
    log = AuditLog(tmp_path, 40_000)
    cursors = []
    for number in range(200):
        log.write(entry(number))
        if number == 190:
            cursors.append(log.page("", 5).next)
    files = sorted(tmp_path.glob("audit-*.jsonl"))
    assert len(files) == FILES
    assert sum(path.stat().st_size for path in files) <= 40_000
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    kept = log.page("", 1_000).entries
    assert [one.at_unix_ms for one in kept] == list(range(199, 199 - len(kept), -1))
    assert len(kept) > 40
    assert [one.at_unix_ms for one in log.page(cursors[0], 3).entries] == [185, 184, 183]
    assert max(len(one.what) for one in kept) == 500
    paged, cursor = [], ""
    while not paged or cursor:
        page = log.page(cursor, 7)
        paged, cursor = paged + page.entries, page.next
    assert paged == kept


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    log = AuditLog(tmp_path, 1 << 20)
    log.write(entry(1))
    with (tmp_path / "audit-000001.jsonl").open("ab") as file:
        file.write(b'{"at_unix_ms": 2, "wh\n')
    log.write(entry(3))
    assert [one.at_unix_ms for one in log.page("", 9).entries] == [3, 1]
