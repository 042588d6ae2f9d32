"""Files of uploads: what they are by their first bytes, and when they are deleted."""

import os
import stat
import time
from pathlib import Path

import pytest
from front_app import front_app

from api.problems import ProblemError
from api.upload_files import LEFT_OVER_S, UploadFiles, form_of
from api.uploads import AT_ONCE
from engine.config import parse_settings
from engine.errors import ConfigError
from engine.upload_settings import UploadsSettings
from engine.uploads import Upload, camera_of, folder_of, read_about, upload_of, write_about


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"\x89PNG\r\n\x1a\n", ".png"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"RIFF\0\0\0\0AVI LIST", ".avi"),
        (b"\0\0\0\x20ftypisom", ".mp4"),
        (b"\0\0\0\x14ftypqt  ", ".mov"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\x42\x82\x84webm", ".webm"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\x42\x82\x88matroska", ".mkv"),
        (b"G" + bytes(187) + b"G", ".ts"),
    ],
)
def test_files_are_known_by_their_first_bytes(head, suffix):
    assert form_of(head).suffix == suffix


@pytest.mark.parametrize(
    "head",
    [
        b"", b"#EXTM3U\nfile:///etc/passwd", b"<svg", b"RIFF\0\0\0\0WAVE", b"GIF89a" + bytes(250),
        b"G\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)  # fmt: skip
def test_what_only_looks_like_media_is_refused(head):
    assert form_of(head) is None


def stored(root: Path, upload: str, *, age_s: float = 0.0, size_bytes: int = 10) -> str:
    folder = folder_of(root, upload)
    folder.mkdir(parents=True)
    about = Upload(
        id=upload, name="car.jpg", kind="picture", media_type="image/jpeg", file="media.jpg",
        size_bytes=size_bytes, width_px=8, height_px=8, frames=1, duration_s=0.0,
        created_unix_ms=int((time.time() - age_s) * 1_000),
    )  # fmt: skip
    write_about(folder, about)
    assert read_about(folder) == about
    return upload


def test_old_uploads_go_and_the_oldest_where_all_are_too_large(tmp_path):
    files = UploadFiles(tmp_path, UploadsSettings(keep_hours=1.0, keep_mib=2))
    stored(tmp_path, "0" * 16, age_s=3_700)
    busy = stored(tmp_path, "1" * 16, age_s=3_700)
    stored(tmp_path, "2" * 16, age_s=100, size_bytes=1 << 20)
    third = stored(tmp_path, "3" * 16, age_s=50, size_bytes=1 << 20)
    fourth = stored(tmp_path, "4" * 16, age_s=10, size_bytes=1 << 20)
    broken, fresh = tmp_path / ("5" * 16), tmp_path / ("6" * 16)
    broken.mkdir()
    fresh.mkdir()
    long_ago = time.time() - LEFT_OVER_S - 1
    os.utime(broken, (long_ago, long_ago))
    files.sweep({busy})
    assert sorted(files.ids()) == [busy, third, fourth, fresh.name]


def test_only_so_many_are_taken_at_once(tmp_path):
    files = UploadFiles(tmp_path, UploadsSettings(max_waiting=2))
    inner, modes = [], set()

    class Body:
        """A body during which another one comes, and so on."""

        def read(self, _most):
            modes.update(stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir())
            with pytest.raises(ProblemError) as caught:
                files.take(Body(), name="", length=None)
            inner.append(caught.value.status)
            return b""

    with pytest.raises(ProblemError) as caught:
        files.take(Body(), name="", length=None)
    assert (inner, caught.value.status) == ([503, 415], 415)
    assert modes == {0o700}
    assert files.ids() == []


@pytest.mark.parametrize("upload", ["..", "0123", "0" * 15 + "g", "0" * 16 + "/x", ""])
def test_only_ids_name_a_folder(tmp_path, upload):
    with pytest.raises(ProblemError):
        UploadFiles(tmp_path, UploadsSettings()).folder(upload)


def test_no_camera_may_be_named_like_an_upload():
    assert upload_of(camera_of("0" * 16)) == "0" * 16
    assert upload_of("upload") == ""
    with pytest.raises(ConfigError, match=r"cameras\[0\]\.name: .* uploads"):
        parse_settings({"cameras": [{"name": "upload.x", "url": "demo://"}]})


def test_too_many_at_once_are_asked_to_wait(tmp_path):
    with front_app(tmp_path) as built:
        for _ in range(AT_ONCE):
            built.front.uploads._hands.acquire()
        answer = built.app.test_client().post("/api/v1/uploads", data=b"x")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        built.front.uploads._hands.release()
        assert built.app.test_client().post("/api/v1/uploads", data=b"x").status_code == 415
        assert not list((tmp_path / "uploads").iterdir())
