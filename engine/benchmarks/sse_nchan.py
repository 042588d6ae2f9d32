"""nginx with its module nchan as a server of live events, where both are installed."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import redis

from engine.benchmarks.sse_servers import Server
from engine.errors import PreflightError
from engine.store import STREAM
from engine.types import Sighting

MODULE: Final = "ngx_nchan_module.so"
USUAL: Final = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
LOOK_MS: Final = 200
WITHIN_S: Final = 10.0
PUBLISH_WITHIN_S: Final = 60.0

_CONFIGURATION: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log crit;
load_module {module}; worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /stream {{ nchan_subscriber eventsource; nchan_channel_id plates; }}
    location = /publish {{ nchan_publisher; nchan_channel_id plates; }}
  }}
}}
"""

_sightings = msgspec.json.Decoder(Sighting)


@contextmanager
def installed_nchan() -> Iterator[Server]:
    """Yield what runs nginx with nchan.

    Raises:
        PreflightError: one of them is not installed.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise PreflightError("there is no nginx — install the package nginx")
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    folders = (*re.findall(r"--modules-path=(\S+)", built), *USUAL)
    module = next((path for name in folders if (path := Path(name) / MODULE).is_file()), None)
    if module is None:
        raise PreflightError("nginx lacks nchan — install the package libnginx-mod-nchan")

    @contextmanager
    def nchan(listener: socket.socket, redis_socket: str) -> Iterator[int]:
        port = listener.getsockname()[1]
        with tempfile.TemporaryDirectory(prefix="plt-bench-") as folder:
            file = Path(folder) / "nginx.conf"
            file.write_text(_CONFIGURATION.format(folder=folder, module=module, port=port))
            command = [program, "-p", folder, "-e", f"{folder}/log", "-c", str(file)]
            with _worker(command, listener.fileno()) as pid, _relayed(redis_socket, port):
                yield pid

    yield nchan


@contextmanager
def _worker(command: list[str], listener_fd: int) -> Iterator[int]:
    """Run nginx, which inherits a listener, and give the pid of its only worker."""
    environment = os.environ | {"NGINX": f"{listener_fd};"}
    process = subprocess.Popen(command, pass_fds=[listener_fd], env=environment)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids: list[str] = []
    try:
        deadline = time.monotonic() + WITHIN_S
        while not (pids := children.read_text().split()):
            if time.monotonic() > deadline or process.poll() is not None:
                raise PreflightError("nginx does not start with nchan")
            time.sleep(0.02)
        yield int(pids[0])
    finally:
        process.terminate()  # the worker does not end with a killed master, so both are told
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _relayed(redis_socket: str, port: int) -> Iterator[None]:
    """Post the plates of new events to nginx, in a thread."""
    ended = threading.Event()
    relay = threading.Thread(target=_relay, args=(redis_socket, port, ended))
    relay.start()
    try:
        yield
    finally:
        ended.set()
        relay.join()


def _relay(redis_socket: str, port: int, ended: threading.Event) -> None:
    nginx = http.client.HTTPConnection("127.0.0.1", port, timeout=PUBLISH_WITHIN_S)
    last: bytes = b"0"
    with redis.Redis(unix_socket_path=redis_socket) as client:
        while not ended.is_set():
            for _, entries in client.xread({STREAM: last}, block=LOOK_MS) or ():
                for last, fields in entries:  # noqa: B007  # goes on behind the newest
                    nginx.request("POST", "/publish", _sightings.decode(fields[b"json"]).plate)
                    nginx.getresponse().read()
    nginx.close()
