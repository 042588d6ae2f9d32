"""Certificates: every file that the configuration uses is known, and when it runs out."""

import builtins
import datetime as dt
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from api.certificates import CertificateMetrics
from engine.certificates import CertificateFile, named_certificates, runs_out_unix_s
from engine.config import parse_settings
from engine.doctor.certificates import look_at_certificates
from engine.doctor.findings import Verdict
from engine.errors import ConfigError

DAY_S = 86_400
NOW_S = int(time.time())
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate")])


def pem(*days: float) -> bytes:
    """Return certificates of a server, none of an authority, that run out in so many days."""
    texts = []
    for day in days:
        end = dt.datetime.fromtimestamp(NOW_S + day * DAY_S, dt.UTC)
        built = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME)
        built = built.public_key(KEY.public_key()).serial_number(x509.random_serial_number())
        built = built.not_valid_before(end - dt.timedelta(days=90)).not_valid_after(end)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        texts.append(built.sign(KEY, SHA256()).public_bytes(Encoding.PEM))
    return b"".join(texts)


def samples(metrics: CertificateMetrics) -> dict[str, float]:
    return {
        f"{sample.name.removeprefix('platering_certificate_')} {sample.labels['certificate']}": (
            sample.value
        )
        for family in metrics.collect()
        for sample in family.samples
    }


def test_every_file_in_use_is_known_by_its_key_and_none_that_is_not():
    found = named_certificates(
        parse_settings({
            "api": {"tls_certificate": "a.pem", "tls_key": "key"},
            "redis": {"url": "rediss://:s3cret@host?ssl_ca_certs=r.pem&ssl_certfile=c.pem"},
            "sinks": {
                "webhooks": [
                    {"name": "one", "url": "https://example.com"},
                    {"name": "two", "url": "https://example.com", "ca_file": "w.pem"},
                ],
                "mqtt": {"url": "mqtts://host", "ca_file": "m.pem", "cert_file": "o.pem"},
                "kafka": {"ca_file": "unused.pem"},
            },
        })
    )  # fmt: skip
    assert [(one.key, one.path, one.is_trusted) for one in found] == [
        ("api.tls_certificate", "a.pem", False),
        ("redis.url ssl_ca_certs", "r.pem", True),
        ("redis.url ssl_certfile", "c.pem", False),
        ("sinks.webhooks[1].ca_file", "w.pem", True),
        ("sinks.mqtt.ca_file", "m.pem", True),
        ("sinks.mqtt.cert_file", "o.pem", False),
    ]


def test_a_chain_ends_with_its_first_and_authorities_with_their_last(tmp_path):
    path = tmp_path / "some.pem"
    path.write_bytes(pem(40, 10, 300))
    assert runs_out_unix_s(CertificateFile("a", str(path))) == NOW_S + 10 * DAY_S
    assert runs_out_unix_s(CertificateFile("a", str(path), is_trusted=True)) == NOW_S + 300 * DAY_S


def test_metrics_follow_a_renewed_file_and_say_when_it_cannot_be_read(tmp_path, caplog):
    path, key = tmp_path / "one.pem", "api.tls_certificate"
    metrics = CertificateMetrics((CertificateFile(key, str(path)),))
    assert samples(metrics) == {f"readable {key}": 0.0}
    assert samples(metrics) == {f"readable {key}": 0.0}
    assert caplog.text.count("cannot read") == 1, "said once"
    for days in (5, 90):
        path.write_bytes(pem(days))
        assert samples(metrics) == {
            f"not_after_timestamp_seconds {key}": NOW_S + days * DAY_S,
            f"readable {key}": 1.0,
        }
    path.write_text("garbage")
    assert samples(metrics) == {f"readable {key}": 0.0}
    assert "holds no certificate" in caplog.text


@pytest.mark.parametrize(
    ("days", "verdict", "said"),
    [
        (40.5, Verdict.FINE, "in 40 days"),
        (20.5, Verdict.WARNING, "in 20 days"),
        (-1.5, Verdict.PROBLEM, "1 day ago"),
        (None, Verdict.PROBLEM, "cannot read"),
    ],
)
def test_the_doctor_tells_how_long_it_is_good(tmp_path, days, verdict, said):
    path = tmp_path / "ca.pem"
    if days is not None:
        path.write_bytes(pem(days))
    table = {"mqtt": {"url": "mqtts://host", "ca_file": str(path)}}
    (found,) = look_at_certificates(parse_settings({"sinks": table}))
    assert (found.check, found.verdict) == ("certificate sinks.mqtt.ca_file", verdict)
    assert said in found.found
    assert bool(found.remedy) == (verdict is not Verdict.FINE)


def test_without_the_package_it_is_said_which_extra_brings_it(tmp_path, monkeypatch):
    true_import = builtins.__import__

    def without(name, *rest):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"platering\[tls\]"):
        runs_out_unix_s(CertificateFile("a", str(tmp_path)))
    (found,) = look_at_certificates(
        parse_settings({"api": {"tls_certificate": "a.pem", "tls_key": "k"}})
    )
    assert found.verdict is Verdict.WARNING
