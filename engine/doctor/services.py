"""What the configuration names besides cameras: the recognizer, Redis, the page's address."""

import contextlib
import subprocess

import redis

from engine.config import EMBEDDED, RedisSettings, Settings
from engine.control import ask
from engine.doctor.findings import Finding, Verdict
from engine.embedded_redis import find_redis_server
from engine.errors import ConfigError, ControlError, PreflightError, RecognizerError
from engine.exposure import check_exposure
from engine.recognizers.openalpr_library import find_library
from engine.recognizers.registry import open_recognizer
from engine.resources import listen, state_path
from engine.sources import redact
from engine.store import connect


def openalpr(settings: Settings) -> Finding:
    """Tell where OpenALPR and its data are."""
    try:
        found = find_library(settings.openalpr)
    except RecognizerError as error:
        return Finding("OpenALPR", Verdict.PROBLEM, str(error), "correct that path, or empty it")
    wanted = settings.recognizer == "openalpr"
    if found is None:
        verdict = Verdict.PROBLEM if wanted else Verdict.FINE
        remedy = "install libopenalpr, or name it in openalpr.library" if wanted else ""
        return Finding("OpenALPR", verdict, "no library found", remedy)
    text = f"{found.path}, configuration {found.config or 'not found'}, "
    text += f"runtime data {found.runtime_data or 'not found'}"
    if found.config and found.runtime_data:
        return Finding("OpenALPR", Verdict.FINE, text)
    missing = "config" if found.runtime_data else "runtime_data"
    verdict = Verdict.PROBLEM if wanted else Verdict.WARNING
    return Finding("OpenALPR", verdict, text, f"name it in openalpr.{missing}")


def recognizer_chosen(settings: Settings) -> Finding:
    """Open the recognizer that the configuration asks for, and tell why it is that one."""
    try:
        provider = settings.recognizers.provider
        opened = open_recognizer(settings.recognizer, settings.openalpr, provider)
    except RecognizerError as error:
        remedy = 'see OpenALPR above, or set recognizer = "auto"'
        return Finding("recognizer", Verdict.PROBLEM, str(error), remedy)
    opened.recognizer.close()
    if opened.problem:
        remedy = 'mend that, or set recognizer = "builtin" and recognizers.provider = "cpu"'
        return Finding("recognizer", Verdict.WARNING, opened.why, remedy)
    return Finding("recognizer", Verdict.FINE, opened.why)


def redis_server(settings: RedisSettings) -> Finding:
    """Ask the Redis of the configuration for its version."""
    if settings.url == EMBEDDED:
        return _embedded_redis()
    shown = redact(settings.url)
    try:
        with connect(settings.url) as client:
            version = client.info("server")["redis_version"]
    except (redis.RedisError, ValueError, OSError) as error:
        remedy = "start that server, or correct redis.url"
        reason = redact(str(error)).replace(settings.url, shown)
        return Finding("Redis", Verdict.PROBLEM, f"{shown}: {reason}", remedy)
    return Finding("Redis", Verdict.FINE, f"{shown}: version {version}")


def _embedded_redis() -> Finding:
    try:
        server = find_redis_server()
        told = subprocess.run([server, "--version"], capture_output=True, timeout=10, check=True)
    except PreflightError as error:
        problem, _, remedy = str(error).partition(" — ")
        return Finding("Redis", Verdict.PROBLEM, problem, remedy)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "Redis", Verdict.PROBLEM, str(error), "install the package redis-server anew"
        )
    version = next((w[2:] for w in told.stdout.decode().split() if w.startswith("v=")), "unknown")
    return Finding("Redis", Verdict.FINE, f"embedded, {server}, version {version}")


def page(settings: Settings) -> Finding:
    """Try to listen where the page will be, and see that strangers would be kept out."""
    scheme = "https" if settings.api.tls_certificate else "http"
    address = f"{scheme}://{settings.api.host}:{settings.api.port}"
    try:
        with listen(settings) as listener:
            check_exposure(settings, listener)
    except (ConfigError, PreflightError) as error:
        if isinstance(error, ConfigError) and error.key == "api.port" and _runs(settings):
            return Finding("page", Verdict.FINE, f"{address}, served by the running engine")
        problem, _, remedy = str(error).partition(" — ")
        return Finding("page", Verdict.PROBLEM, problem, remedy)
    return Finding("page", Verdict.FINE, address)


def _runs(settings: Settings) -> bool:
    """Tell whether a supervisor of this configuration is alive."""
    for half in ("engine", "api"):
        path = state_path(settings.data_dir, half, "control.sock")
        with contextlib.suppress(ControlError):
            ask(str(path), "status", timeout_s=1.0)
            return True
    return False
