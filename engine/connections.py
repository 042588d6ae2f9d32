"""Who is connected to the publisher: a reads channel per worker, a socket per camera with clips."""

import socket

from engine.board import Kind
from engine.children import ChildProcess
from engine.messages import AttachClips, AttachReads
from engine.plane import CameraPlace
from engine.roster import Roster


class Connections:
    """Makes the sockets between the publisher and others, anew whenever one of them starts."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def reads(self, workers: list[ChildProcess]) -> None:
        """Give workers and the publisher a fresh reads channel each."""
        for worker in workers:
            attach = AttachReads(worker=worker.name, incarnation=worker.incarnation)
            self._connect(worker, attach)

    def clips(self, places: list[CameraPlace]) -> None:
        """Give decoders of cameras with clips and the publisher a fresh socket each."""
        for place in places:
            camera = place.settings
            if camera.clip != "none":
                attach = AttachClips(
                    camera=camera.name,
                    wanted=camera.clip,
                    after_s=camera.clip_after_s,
                    most_bytes=camera.clip_mib + 1 << 20,
                )
                self._connect(place.decoder, attach)

    def _connect(self, child: ChildProcess, attach: AttachReads | AttachClips) -> None:
        """Give a child and the publisher one end each of a socket pair, if both are up."""
        (publisher,) = self._roster.of(Kind.PUBLISHER)
        if publisher.is_up and child.is_up:
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            child.send_and_close(attach, ends[0].detach())
            publisher.send_and_close(attach, ends[1].detach())
