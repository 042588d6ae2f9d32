"""A decoder process that plays every file of a folder once, through the engine's own ``Decoder``.

A file ``N.url`` holds the address of a stream to play instead. Its camera's URL names the folder.
Before and after each file it writes a line into ``log`` there; a new incarnation goes on behind the
file that killed the last one.
"""

import contextlib
from pathlib import Path

from engine.board import Fate, Kind
from engine.decoder import Decoder
from engine.errors import SourceError
from engine.process import Child, run_child
from engine.sources.base import SourceFrame


class FuzzDecoder(Decoder):
    """A decoder whose frames nobody reads: its rings are those of live cameras."""

    def _handle(self, frame: SourceFrame, *, lossless: bool) -> None:
        del lossless
        super()._handle(frame, lossless=False)

    def _capture(self) -> float | None:
        """Play what has not been begun yet, then have ended."""
        folder = Path(self._camera.url)
        with (folder / "log").open("a+", encoding="utf-8") as log:
            log.seek(0)
            begun = {line.split()[1] for line in log}
            for path in sorted(folder.glob("*.*"), key=lambda path: int(path.stem)):
                if path.name in begun:
                    continue
                if self._is_stopping():
                    return None
                log.write(f"begin {path.name}\n")
                log.flush()
                log.write(f"end {path.name} {self._outcome(path)}\n")
                log.flush()
            log.write("all done\n")
        return None

    def _outcome(self, path: Path) -> str:
        """Play one file; return what became of it in one line."""
        url = path.read_text() if path.suffix == ".url" else str(path)
        self._camera = self._camera.model_copy(update={"url": url})
        before = self._row.fate_so_far(self._index, Fate.CAPTURED)
        self._shown = None
        self._clips.preroll = None
        ended = super()._capture() is None
        self._cut_clip()
        frames = self._row.fate_so_far(self._index, Fate.CAPTURED) - before
        if ended:
            return f"{'played' if frames else 'empty'} {frames}"
        reason = str(self._shown).replace(url, "FILE").replace("\n", " ")
        return f"{'broke-off' if frames else 'refused'} {frames} {reason}"

    def _cut_clip(self) -> None:
        """Make a clip of what was kept, as for a sighting; whatever it is, it must not crash."""
        if self._clips.preroll is not None:
            with contextlib.suppress(SourceError):
                assert len(self._clips.preroll.clip()) <= 2 * (self._camera.clip_mib << 20)


def main(child: Child) -> None:
    """Play all, then wait to be stopped as a camera that has ended."""
    decoder = FuzzDecoder(child)
    decoder.limit()
    decoder.run()


if __name__ == "__main__":
    run_child(Kind.DECODER, main)
