"""A real RTSP server (GStreamer's) for tests; run with Debian's own Python: it has no wheel.

``rtsp_server.py ADDRESS PORT`` serves /cam, one pipeline shared by all clients. Lines on standard
input change the picture while it plays: ``size W H``, ``pattern NAME``.
"""

import argparse
import sys

import gi

gi.require_version("GstRtspServer", "1.0")
gi.require_version("GstRtsp", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402  # versions come first

LAUNCH = (
    "( videotestsrc name=source is-live=true pattern=smpte ! "
    "capsfilter name=caps caps=video/x-raw,format=I420,width=640,height=360,framerate=15/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 threads=1 "
    "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
FILE = (
    "( filesrc location={} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
media = []


def options():
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port")
    parser.add_argument("--login", help="USER:PASSWORD")
    parser.add_argument("--tls", help="file with a certificate and its key")
    parser.add_argument("--file", help="an MP4 to show once, instead of the picture")
    parser.add_argument("--no-clock", action="store_true", help="it does not know what time it is")
    return parser.parse_args()


def main():
    """Serve until killed."""
    asked = options()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(asked.address)
    server.set_service(asked.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(FILE.format(asked.file) if asked.file else LAUNCH)
    factory.set_shared(True)
    factory.connect("media-configure", lambda _factory, made: media.append(made))
    if asked.no_clock:
        factory.connect("media-configure", lambda _factory, made: made.connect("prepared", unset))
    if asked.login:
        auth = guard(server, factory, *asked.login.split(":"))
        if asked.tls:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(asked.tls))
    server.get_mount_points().add_factory("/cam", factory)
    if server.attach(None) == 0:
        raise SystemExit("the port is taken")
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN, obey)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def guard(server, factory, user, password):
    """Let in only who has the password; return what does it."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_digest(user, password, token)
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
    return auth


def unset(made):
    """Let a medium's sender reports tell for how long it has run, and not the time."""

    def change(element):
        if element.get_factory().get_name() == "rtpbin":
            element.set_property("ntp-time-source", "running-time")

    made.get_element().get_parent().iterate_elements().foreach(change)


def obey(_fd, _condition):
    """Do what a line of standard input says."""
    words = sys.stdin.readline().split()
    if not words:
        return False
    for made in media:
        pipeline = made.get_element()
        if words[0] == "size":
            caps = f"video/x-raw,format=I420,width={words[1]},height={words[2]},framerate=15/1"
            pipeline.get_by_name("caps").set_property("caps", Gst.Caps.from_string(caps))
        if words[0] == "pattern":
            pipeline.get_by_name("source").set_property("pattern", words[1])
    return True


if __name__ == "__main__":
    main()
