"""How long the certificates of the configuration are still good for."""

import time
from datetime import UTC, datetime
from typing import Final

from engine.certificates import CertificateFile, named_certificates, runs_out_unix_s
from engine.config import Settings
from engine.doctor.findings import Finding, Verdict, count
from engine.errors import ConfigError

SOON_DAYS: Final = 21
"""As the alert of ``deploy/prometheus`` has it."""
_DAY_S: Final = 86_400
_REMEDY: Final = "renew it; a front takes a renewed one without a restart"


def look_at_certificates(settings: Settings) -> list[Finding]:
    """Return a finding for every file of certificates that the configuration names."""
    return [_finding(file) for file in named_certificates(settings)]


def _finding(file: CertificateFile) -> Finding:
    check = f"certificate {file.key}"
    try:
        runs_out_s = runs_out_unix_s(file)
    except ConfigError as error:
        problem, _, remedy = str(error).removeprefix(f"{file.key}: ").partition(" — ")
        verdict = Verdict.WARNING if isinstance(error.__cause__, ImportError) else Verdict.PROBLEM
        return Finding(check, verdict, problem, remedy)
    left_s = runs_out_s - time.time()
    day = datetime.fromtimestamp(runs_out_s, UTC).date()
    days = count(int(abs(left_s) // _DAY_S), "day")
    if left_s <= 0:
        return Finding(check, Verdict.PROBLEM, f"{file.path} ran out on {day}, {days} ago", _REMEDY)
    found = f"{file.path} runs out on {day}, in {days}"
    if left_s < SOON_DAYS * _DAY_S:
        return Finding(check, Verdict.WARNING, found, _REMEDY)
    return Finding(check, Verdict.FINE, found)
