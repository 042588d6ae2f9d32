"""The compiled stand-in for OpenALPR's libraries, and what it recorded of its callers."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.config import OpenAlprSettings

SOURCE = Path(__file__).parent / "unit" / "openalpr_stand_in.c"
COUNTRIES = ("eu", "us", "br", "gb")
KINDS = {
    "openalprpy": ("libopenalprpy.so", ["-DPY_BINDING"]),
    "openalpr.2": ("libopenalpr.so.2", ["-DC_INTERFACE"]),
    "commercial": ("libopenalpr.so.2", ["-DC_INTERFACE", "-DCOMMERCIAL"]),
}


class Record(ctypes.Structure):
    """``struct record`` of the stand-in: what it was last asked, what is still alive."""

    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("bytes_per_pixel", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("area", ctypes.c_int32 * 4),
        *((name, ctypes.c_int32) for name in ("calls", "live_texts", "live_instances")),
        *((name, ctypes.c_int32) for name in ("violations", "topn", "detect_region")),
        *((name, ctypes.c_char * 64) for name in ("country", "default_region")),
        *((name, ctypes.c_char * 64) for name in ("prewarp", "license_key")),
        *((name, ctypes.c_char * 256) for name in ("config", "config_text")),
    )


class StandIn:
    """A compiled stand-in in a folder of its own, with runtime data and a configuration file."""

    def __init__(self, kind: str, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            pytest.skip("needs a C compiler: install the package gcc")
        name, defines = KINDS[kind]
        self.kind, self.folder, self.library = kind, folder, folder / name
        strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
        command = [compiler, *strict, "-shared", "-fPIC", "-pthread", *defines]
        subprocess.run([*command, "-o", self.library, SOURCE], check=True)
        for country in COUNTRIES:
            self.add_country(country, f"ocr_language = l{country}\n")
        (folder / "openalpr.conf").write_text("runtime_dir = /nowhere\n")
        self.c = ctypes.CDLL(str(self.library))
        self.c.stand_in_record.restype = ctypes.POINTER(Record)

    def add_country(self, country: str, config: str) -> None:
        runtime = self.folder / "runtime_data"
        for part in ("config", "ocr/tessdata"):
            (runtime / part).mkdir(parents=True, exist_ok=True)
        (runtime / f"config/{country}.conf").write_text(config)
        (runtime / f"ocr/tessdata/l{country}.traineddata").touch()

    @property
    def record(self) -> Record:
        return self.c.stand_in_record().contents

    def settings(self, **others: object) -> OpenAlprSettings:
        return OpenAlprSettings.model_validate({"library": str(self.library), **others})
