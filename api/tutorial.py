"""The tutorials' live stream, to compare with: a pub/sub subscription and a greenlet per client.

Nothing here serves anybody: ``engine.benchmarks.sse_servers`` runs it as
``python -m api.tutorial LISTENER_FD REDIS_SOCKET``.
"""

# ruff: noqa: E402  # gevent replaces blocking calls before anybody else has imported them
from gevent import monkey

monkey.patch_all()

import socket
import sys
from collections.abc import Iterator

import redis
from flask import Flask, Response
from gevent.pywsgi import WSGIServer


def create_app(redis_socket: str) -> Flask:
    """Return the application as it stands in the tutorials."""
    app = Flask(__name__)
    client = redis.Redis(unix_socket_path=redis_socket, max_connections=100_000)

    @app.get("/stream")
    def stream() -> Response:
        def events() -> Iterator[str]:
            yield ": \n\n"
            subscription = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            subscription.subscribe("license_plates")
            for message in subscription.listen():
                yield f"data: {message['data'].decode()}\n\n"

        return Response(events(), mimetype="text/event-stream")

    return app


def main() -> None:
    """Serve until killed."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    WSGIServer(listener, create_app(sys.argv[2]), log=None).serve_forever()


if __name__ == "__main__":
    main()
