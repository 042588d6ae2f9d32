"""The two C interfaces of OpenALPR: where its library is, and how it is called without a copy.

OpenALPR comes as ``libopenalprpy.so`` (the open-source library behind the Python package
``openalpr`` 1.0.11) and as ``libopenalpr.so.2`` (open-source or commercial, with a C interface of
its own). Both take the address of pixels. The package does not: it copies every frame with
``flatten()`` and finds its library on the loader's path only, so both are called directly here.

Known traps, each guarded below or by the caller (measured on 2.3.0): an instance that did not load
crashes when it is used; a missing configuration file is silently replaced by the library's own
defaults; the JSON it returns belongs to the caller; an area of interest of 0x0 finds nothing;
two threads in one instance crash; frames above 1280x720 are scaled down before detection.
"""

import ctypes
import os
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from engine.config import OpenAlprSettings
from engine.errors import RecognizerError
from engine.types import Bgr, Luma

Flavour: TypeAlias = Literal["openalprpy", "openalpr.2"]
"""Which C interface a library offers."""

_FILE_NAMES: Final[dict[Flavour, tuple[str, ...]]] = {
    "openalprpy": ("libopenalprpy.so", "libopenalprpy.so.2"),
    "openalpr.2": ("libopenalpr.so.2", "libopenalpr.so"),
}
_RUNTIME_DIR = re.compile(r"^\s*runtime_dir\s*=\s*(\S.*?)\s*$", re.MULTILINE)
_OCR_LANGUAGE = re.compile(r"^\s*ocr_language\s*=\s*(\S+)", re.MULTILINE)


class FoundLibrary(msgspec.Struct, frozen=True):
    """Where OpenALPR is; ``config`` and ``runtime_data`` are empty where none was found."""

    path: str
    flavour: Flavour
    config: str
    runtime_data: str


class Area(NamedTuple):
    """Part of a picture in pixels, ``right`` and ``bottom`` no longer in it."""

    left: int
    top: int
    right: int
    bottom: int


def find_library(settings: OpenAlprSettings) -> FoundLibrary | None:
    """Return where OpenALPR, its configuration file and its runtime data are, or None.

    What the settings name must be there; what they leave empty is looked for in the usual places
    of the loader, beside the library and under ``/etc`` and ``/usr``. Nothing is loaded.

    Raises:
        RecognizerError: a path in the settings does not exist; names its key.
    """
    path = _named("library", settings.library) or _first_file(_loader_folders())
    if path is not None and path.is_dir():
        folder, path = path, _first_file([path])
        if path is None:
            raise RecognizerError(f"openalpr.library: there is no OpenALPR library in {folder}.")
    if path is None:
        return None
    prefixes = (path.parent, path.parent.parent, path.parent.parent.parent, Path("/usr"))
    config = _named("config", settings.config) or _first(_config_places(prefixes))
    runtime = _named("runtime_data", settings.runtime_data) or _first(
        _runtime_places(config, prefixes)
    )
    flavour: Flavour = "openalprpy" if path.name.startswith("libopenalprpy") else "openalpr.2"
    return FoundLibrary(str(path), flavour, str(config or ""), str(runtime or ""))


def that_takes_areas(found: FoundLibrary) -> FoundLibrary:
    """Return the ``libopenalpr.so.2`` to use where areas must be told: itself, or the one beside.

    ``libopenalprpy.so`` cannot be told an area, but the library that it is made of can.

    Raises:
        RecognizerError: there is none beside it.
    """
    if found.flavour == "openalpr.2":
        return found
    beside = _beside(Path(found.path))
    if beside is None:
        raise RecognizerError(
            f'openalpr.detector: "builtin" needs the library libopenalpr.so.2 beside {found.path}.'
        )
    return msgspec.structs.replace(found, path=str(beside), flavour="openalpr.2")


def _beside(path: Path) -> Path | None:
    """Return the ``libopenalpr.so.2`` in the folder of another library, if there is one."""
    beside = path.with_name("libopenalpr.so.2")
    return beside if beside != path and beside.exists() else None


def _named(key: str, value: str) -> Path | None:
    """Return the path that a setting names, which must exist; None where it is empty."""
    if not value:
        return None
    path = Path(value).expanduser()
    if not path.exists():
        raise RecognizerError(f"openalpr.{key}: {path} does not exist.")
    return path


def _loader_folders() -> list[Path]:
    """Return the folders in which the dynamic loader looks, in its order, near enough."""
    wished = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    multiarch = sysconfig.get_config_var("MULTIARCH") or "lib64"
    usual = ("/usr/local/lib", f"/usr/local/lib/{multiarch}", "/usr/local/lib64")
    system = (f"/usr/lib/{multiarch}", "/usr/lib", "/usr/lib64", "/opt/openalpr/lib")
    return [Path(folder) for folder in (*wished, *usual, *system) if folder]


def _first_file(folders: list[Path]) -> Path | None:
    """Return the first OpenALPR library in the folders; the one with a version to tell first."""
    names = [name for flavour in get_args(Flavour) for name in _FILE_NAMES[flavour]]
    return _first(folder / name for name in names for folder in folders)


def _first(places: Iterable[Path]) -> Path | None:
    """Return the first place that exists."""
    return next((place for place in places if place.exists()), None)


def _config_places(prefixes: Iterable[Path]) -> Iterator[Path]:
    """Yield where ``openalpr.conf`` may be."""
    for prefix in prefixes:
        yield prefix / "openalpr.conf"
        yield prefix / "etc/openalpr/openalpr.conf"
    yield Path("/etc/openalpr/openalpr.conf")
    for prefix in prefixes:
        yield prefix / "share/openalpr/config/openalpr.defaults.conf"


def _runtime_places(config: Path | None, prefixes: Iterable[Path]) -> Iterator[Path]:
    """Yield where the runtime data may be: what the configuration file says comes first."""
    text = config.read_text(encoding="utf-8", errors="replace") if config else ""
    if said := _RUNTIME_DIR.search(text):
        yield Path(said[1])
    for prefix in prefixes:
        yield prefix / "runtime_data"
        yield prefix / "share/openalpr/runtime_data"


class _CArea(ctypes.Structure):
    """``struct AlprCRegionOfInterest``: four ints, passed by value."""

    _fields_ = (
        ("x", ctypes.c_int),
        ("y", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
    )


class _Function(msgspec.Struct, frozen=True):
    """The name and the prototype of one C function."""

    symbol: str
    returns: Any
    takes: tuple[Any, ...]


_HANDLE: Final = ctypes.c_void_p
_TEXT: Final = ctypes.c_char_p
_INT: Final = ctypes.c_int
_OWNED_TEXT: Final = ctypes.c_void_p
"""A ``char *`` that the caller frees: as c_char_p its address would be lost."""

_RAW: Final = (_HANDLE, ctypes.c_void_p, _INT, _INT, _INT)

_FUNCTIONS: Final[dict[Flavour, dict[str, _Function]]] = {
    "openalprpy": {
        "open": _Function("initialize", _HANDLE, (_TEXT, _TEXT, _TEXT)),
        "is_loaded": _Function("isLoaded", ctypes.c_bool, (_HANDLE,)),
        "close": _Function("dispose", None, (_HANDLE,)),
        "recognize": _Function("recognizeRawImage", _OWNED_TEXT, _RAW),
        "free": _Function("freeJsonMem", None, (_OWNED_TEXT,)),
        "topn": _Function("setTopN", None, (_HANDLE, _INT)),
        "default_region": _Function("setDefaultRegion", None, (_HANDLE, _TEXT)),
        "detect_region": _Function("setDetectRegion", None, (_HANDLE, ctypes.c_bool)),
        "prewarp": _Function("setPrewarp", None, (_HANDLE, _TEXT)),
        "version": _Function("getVersion", _OWNED_TEXT, (_HANDLE,)),
    },
    "openalpr.2": {
        "open": _Function("openalpr_init", _HANDLE, (_TEXT, _TEXT, _TEXT)),
        "is_loaded": _Function("openalpr_is_loaded", _INT, (_HANDLE,)),
        "close": _Function("openalpr_cleanup", None, (_HANDLE,)),
        "recognize": _Function("openalpr_recognize_rawimage", _OWNED_TEXT, (*_RAW, _CArea)),
        "free": _Function("openalpr_free_response_string", None, (_OWNED_TEXT,)),
        "topn": _Function("openalpr_set_topn", None, (_HANDLE, _INT)),
        "default_region": _Function("openalpr_set_default_region", None, (_HANDLE, _TEXT)),
        "detect_region": _Function("openalpr_set_detect_region", None, (_HANDLE, _INT)),
        "prewarp": _Function("openalpr_set_prewarp", None, (_HANDLE, _TEXT)),
    },
}

_COMMERCIAL_OPEN: Final = _Function("openalpr_init", _HANDLE, (_TEXT, _TEXT, _TEXT, _TEXT))
_COMMERCIAL_VERSION: Final = _Function("openalpr_get_version", _OWNED_TEXT, (_HANDLE,))
"""Only the commercial ``libopenalpr.so.2`` has it, and its ``openalpr_init`` takes a key too."""


class Library:
    """A loaded OpenALPR library: bound functions, no state of its own."""

    def __init__(self, found: FoundLibrary) -> None:
        """Load the library and bind its functions.

        Raises:
            RecognizerError: there is no configuration or runtime data, it cannot be loaded, or it
                is not the library that its file name says.
        """
        self.found = found
        if not found.config:
            raise RecognizerError(
                f"OpenALPR ({found.path}) has no configuration file: name it in openalpr.config."
            )
        if not found.runtime_data:
            raise RecognizerError(
                f"OpenALPR ({found.path}) has no runtime data: name it in openalpr.runtime_data."
            )
        self._shared = _load(Path(found.path))
        self._prototypes = dict(_FUNCTIONS[found.flavour])
        self.commercial = hasattr(self._shared, _COMMERCIAL_VERSION.symbol)
        if self.commercial:
            self._prototypes |= {"open": _COMMERCIAL_OPEN, "version": _COMMERCIAL_VERSION}
        self._bound: dict[str, Any] = {}
        for name in ("open", "is_loaded", "close", "recognize", "free", "topn"):
            self.function(name)

    def function(self, name: str) -> Any:
        """Return the C function behind a name of the table, with its prototype set.

        Raises:
            RecognizerError: this library does not have it.
        """
        if name not in self._bound:
            prototype = self._prototypes.get(name)
            symbol = prototype.symbol if prototype else name
            try:
                function = self._shared[symbol]
            except AttributeError as error:
                raise RecognizerError(
                    f"{self.found.path} has no function {symbol}: it is not OpenALPR's "
                    f"{self.found.flavour} library, or a version that lacks it."
                ) from error
            if prototype:
                function.restype, function.argtypes = prototype.returns, list(prototype.takes)
            self._bound[name] = function
        return self._bound[name]

    def take_text(self, address: int | None) -> bytes:
        """Copy a text that the library allocated, and free it.

        Raises:
            RecognizerError: the library returned a null pointer.
        """
        if not address:
            raise RecognizerError("OpenALPR returned no result for this frame.")
        try:
            return ctypes.string_at(address)
        finally:
            self.function("free")(address)

    def countries(self) -> frozenset[str]:
        """Return the countries that the runtime data describes; empty where it does not tell."""
        return frozenset(
            path.stem for path in Path(self.found.runtime_data, "config").glob("*.conf")
        )


def _load(path: Path) -> ctypes.CDLL:
    """Load a library together with the one beside it that it may need."""
    try:
        if beside := _beside(path):
            ctypes.CDLL(str(beside))  # libopenalprpy.so needs it, and has no run path to find it
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise RecognizerError(f"OpenALPR cannot be loaded: {error}.") from error


class Instance:
    """One loaded recognizer of the library, for one country or several with commas between.

    Owned by the thread that made it; the library crashes when two threads are in one instance.
    """

    def __init__(
        self, library: Library, country: str, settings: OpenAlprSettings, config: str = ""
    ) -> None:
        """Open an instance, perhaps with another configuration file, and hand it the settings.

        Raises:
            RecognizerError: it did not load; says what is missing.
        """
        self._library = library
        self.country = country
        found = library.found
        texts = [country, config or found.config, found.runtime_data]
        if library.commercial:
            texts.append(settings.license_key)
        self._handle: int | None = library.function("open")(*(text.encode() for text in texts))
        if not self._handle or not library.function("is_loaded")(self._handle):
            self.close()
            raise RecognizerError(_why_not_loaded(library, country))
        if settings.default_region:
            library.function("default_region")(self._handle, settings.default_region.encode())
        if settings.detect_region:
            library.function("detect_region")(self._handle, 1)
        if settings.prewarp:
            library.function("prewarp")(self._handle, settings.prewarp.encode())
        self._topn = 0
        self.set_topn(settings.topn)

    def set_topn(self, topn: int) -> None:
        """Ask for at most this many candidates per plate from now on."""
        if topn != self._topn:
            self._library.function("topn")(self._handle, topn)
            self._topn = topn

    def version(self) -> str:
        """Return the library's own version, or that of its file name where it tells none."""
        if self._library.found.flavour == "openalpr.2" and not self._library.commercial:
            return Path(self._library.found.path).resolve().name.partition(".so.")[2]
        address = self._library.function("version")(self._handle)
        return self._library.take_text(address).decode(errors="replace")

    def recognize(self, rows: Luma | Bgr, area: Area) -> bytes:
        """Return the library's JSON about whole rows of a frame; the pixels are not copied.

        rows: (H, W) uint8 luma or (H, W, 3) BGR whose rows follow each other without a gap; only
        read, during the call. ``area`` is what to search, in pixels of ``rows``;
        ``libopenalprpy.so`` cannot be told and searches all. Coordinates in the JSON are those of
        ``rows``.

        Raises:
            ValueError: the rows have gaps and would be read askew, or the area is not in them.
            RecognizerError: the library returned nothing.
        """
        height, width, depth = (*rows.shape, 1)[:3]
        if not rows.flags.c_contiguous:
            raise ValueError(f"rows of {width} pixels with strides {rows.strides} have gaps")
        left, top, right, bottom = area
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"{area} is no part of {width}x{height} pixels")
        call = [self._handle, rows.ctypes.data, depth, width, height]
        if self._library.found.flavour == "openalpr.2":
            call.append(_CArea(left, top, right - left, bottom - top))
        return self._library.take_text(self._library.function("recognize")(*call))

    def close(self) -> None:
        """Free the instance; a second call does nothing."""
        if self._handle:
            self._library.function("close")(self._handle)
        self._handle = None


def _why_not_loaded(library: Library, countries: str) -> str:
    """Say in one sentence why the library did not load these countries."""
    runtime = Path(library.found.runtime_data)
    for country in countries.split(","):
        config = runtime / "config" / f"{country}.conf"
        if not config.is_file():
            known = ", ".join(sorted(library.countries())) or "none"
            return (
                f"OpenALPR cannot load the country {country!r}: "
                f"its runtime data {runtime} knows {known}."
            )
        language = _OCR_LANGUAGE.search(config.read_text(encoding="utf-8", errors="replace"))
        trained = runtime / "ocr/tessdata" / f"{language[1] if language else country}.traineddata"
        if not library.commercial and not trained.is_file():
            return f"OpenALPR cannot load the country {country!r}: {trained} is missing."
    refused = ", or its licence key is refused" if library.commercial else ""
    return (
        f"OpenALPR did not load the country {countries!r} "
        f"with {library.found.config} and {runtime}{refused}."
    )
