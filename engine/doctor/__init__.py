"""``platering doctor``: what this machine has, what would be chosen, and a remedy per problem.

Nothing is changed or left behind, and no password is printed.
"""

from pathlib import Path

from engine.config import Settings, load_settings
from engine.doctor.cameras import look_at_cameras
from engine.doctor.certificates import look_at_certificates
from engine.doctor.findings import Finding, Report, Verdict, count, print_report
from engine.doctor.machine import cores, data_dir, memory, open_files, shared_memory
from engine.doctor.services import openalpr, page, recognizer_chosen, redis_server, srt_library
from engine.errors import ConfigError
from engine.roster import Roster

__all__ = ["examine", "print_report"]


def examine(path: Path) -> Report:
    """Look at the machine and at everything the configuration file names."""
    try:
        settings = load_settings(path)
        shown = f"{path}: {count(len(settings.cameras), 'camera')}"
        configuration = Finding("configuration", Verdict.FINE, shown)
    except ConfigError as error:
        problem, _, remedy = str(error).partition(" — ")
        configuration = Finding("configuration", Verdict.PROBLEM, problem, remedy)
        settings = Settings()  # the machine is looked at all the same
    workers = Roster(settings, frozenset({"engine"})).worker_count
    cameras = look_at_cameras(settings)
    findings = [
        configuration,
        cores(workers),
        memory(settings, workers),
        open_files(settings, workers),
        shared_memory(settings, workers, cameras),
        srt_library(settings),
        openalpr(settings),
        recognizer_chosen(settings),
        redis_server(settings.redis),
        data_dir(settings),
        page(settings),
        *look_at_certificates(settings),
        *(camera.finding for camera in cameras),
    ]
    return Report(all(f.verdict is not Verdict.PROBLEM for f in findings), findings)
