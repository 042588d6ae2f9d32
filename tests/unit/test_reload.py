"""The file that is read again: where it is, and how a wrong one is refused."""

from types import SimpleNamespace

import pytest

from engine.amendments import Amendments
from engine.config import load_settings
from engine.errors import ControlError
from engine.reload import Reload


def test_a_file_that_was_replaced_through_its_link_is_found(tmp_path, monkeypatch):
    for version, text in (("one", ""), ("two", "bogus = 1\n")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.toml").write_text(text)
    link = tmp_path / "config.toml"
    link.symlink_to("one/config.toml")
    monkeypatch.chdir(tmp_path)
    run = SimpleNamespace(renewal=SimpleNamespace(names=(), failure=""))
    path = link.relative_to(tmp_path)
    reload = Reload(path, load_settings(path), Amendments(tmp_path / "amendments.json"), run)
    link.unlink()
    link.symlink_to("two/config.toml")
    (tmp_path / "one" / "config.toml").unlink()
    monkeypatch.chdir("/")
    with pytest.raises(ControlError, match="bogus: unknown key"):
        reload.reload()
    assert (reload.figures.refused, reload.is_busy) == (1, False)
