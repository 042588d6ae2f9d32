"""What the start checks of a front that others may reach."""

import socket

import pytest

from engine.config import ApiSettings, Settings, parse_settings
from engine.errors import ConfigError
from engine.exposure import check_exposure
from engine.keys import Keys
from engine.records import FOLDER
from engine.scopes import Scope


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
