"""What an ``srt://`` URL may say, and what is said where nobody answers or libsrt is not there."""

import socket
import time

import pytest
from streams import free_port

from engine.errors import SourceError, SourceUnsupportedError
from engine.sources import SourceOptions, check_source, open_source, srt
from engine.sources.srt import SrtReceiver, SrtSettings, srt_settings

BRIEF = SourceOptions(connect_timeout_s=0.5, read_timeout_s=0.5)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("srt://192.0.2.7:9000", SrtSettings(host="192.0.2.7", port=9000, listens=False)),
        ("srt://:9000", SrtSettings(host="", port=9000, listens=True)),
        (
            "srt://0.0.0.0:9000?mode=listener&latency=200",
            SrtSettings(host="0.0.0.0", port=9000, listens=True, latency_ms=200),  # noqa: S104
        ),
        (
            "srt://cam:9?passphrase=ten+letters%26&pbkeylen=32&streamid=#!::r=gate,m=request",
            SrtSettings(
                host="cam",
                port=9,
                listens=False,
                passphrase="ten+letters&",  # noqa: S106  # as the URL says
                key_bytes=32,
                stream_id="#!::r=gate,m=request",
            ),
        ),
    ],
)
def test_what_a_url_says(url, said):
    assert srt_settings(url) == said
    check_source(url)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("srt://cam", "an address and a port"),
        ("srt://cam:99999", "an address and a port"),
        ("srt://:9?mode=caller", "an address and a port"),
        ("srt://cam:9?mode=rendezvous", "mode must be caller or listener"),
        ("srt://cam:9?latency=120000", "latency must be 0 to 10000 milliseconds"),
        ("srt://cam:9?latency=-1", "latency must be"),
        ("srt://cam:9?pbkeylen=17", "pbkeylen must be 16, 24 or 32"),
        ("srt://cam:9?passphrase=hunter2", "a passphrase has 10 to 79 letters"),
        ("srt://cam:9?latncy=1", "unknown latncy"),
    ],
)
def test_mistakes_are_named_before_anything_starts(url, names):
    with pytest.raises(SourceError, match=names) as refused:
        check_source(url)
    assert "hunter" not in str(refused.value)


def test_without_libsrt_its_package_is_named(monkeypatch):
    monkeypatch.setattr(srt, "find_libsrt", lambda: None)
    with pytest.raises(SourceUnsupportedError, match=r"install the package libsrt1\.5-gnutls"):
        next(iter(open_source("srt://127.0.0.1:9", BRIEF).frames(lambda: False)))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("srt://127.0.0.1:{}", "connection"),
        ("srt://[::1]:{}", "connection"),
        ("srt://127.0.0.1:{}?mode=listener", r"no sender has come in 0\.5 s"),
        ("srt://nobody.invalid:{}", "nobody.invalid"),
    ],
)
def test_who_is_away_is_said_to_be_in_time(url, reason):
    if srt.find_libsrt() is None:
        pytest.skip("needs the package libsrt1.5-gnutls")
    began = time.monotonic()
    with pytest.raises(SourceError, match=reason):
        SrtReceiver(url.format(free_port(socket.SOCK_DGRAM)), BRIEF)
    assert time.monotonic() - began < 5.0


def test_what_libsrt_refuses_to_set_is_no_connection_without_it():
    if srt.find_libsrt() is None:
        pytest.skip("needs the package libsrt1.5-gnutls")
    with pytest.raises(SourceError, match="bad parameters"):
        SrtReceiver(f"srt://127.0.0.1:9?streamid={600 * 'x'}", BRIEF)
