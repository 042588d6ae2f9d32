"""The Flask application: the rooms put together, the headers that every answer carries."""

from pathlib import Path
from typing import Final

import msgspec
from flask import Flask, Response, request

from api import camera_events, cameras, ingest, metrics, page, plates, problems, stream, uploads
from api.camera_events import CameraEvents
from api.cameras import CameraRoom
from api.engine_link import EngineLink
from api.feed import Feed
from api.herald import Herald
from api.hub import Hub
from api.nodes import Nodes
from api.problems import ProblemError
from api.upload_files import UploadFiles
from api.uploads import UploadRoom
from engine.board import Board, Count, Row
from engine.config import ApiSettings, UploadsSettings
from engine.errors import SinkError
from engine.privacy import KEY_FILE, disguise_of
from engine.sections import ApiSection
from engine.store import Store, connect
from engine.uploads import uploads_dir

UI: Final = Path(__file__).parent / "ui"
MIB: Final = 1 << 20
ANSWER_WITHIN_S: Final = 3.0
"""How long a request waits for Redis."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Health(msgspec.Struct, frozen=True):
    """The answer of ``/healthz``: this process answers; what stands behind it may not."""

    status: str
    redis: bool
    engine: bool


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rooms work with; made once per process by ``api.server``."""

    settings: ApiSettings
    row: Row
    store: Store
    hub: Hub
    feed: Feed
    engine: EngineLink
    cameras: CameraRoom
    camera_events: CameraEvents
    collector: metrics.BoardCollector
    nodes: Nodes
    herald: Herald | None
    """Where this process speaks for its machine."""
    ingest: ingest.IngestRoom
    uploads: UploadRoom


def build_front(section: ApiSection, process: str, row: Row, board: Board) -> Front:
    """Make everything that the rooms work with; nothing is connected yet.

    ``process`` is the name of this process among those of its machine.
    """
    disguise = disguise_of(Path(section.data_dir) / "engine" / KEY_FILE)
    store = Store(connect(section.redis_url, answer_timeout_s=ANSWER_WITHIN_S), disguise)
    tail = Store(connect(section.redis_url))  # many visitors must not keep the hub from its reader
    engine = EngineLink(section.control_path)
    settings = section.settings
    hub = Hub(Feed(tail), row)
    nodes = Nodes(
        connect(section.redis_url, answer_timeout_s=ANSWER_WITHIN_S),
        f"{section.node}:{process}",
        section.node if section.has_cameras else "",
        lambda: hub.clients,
    )
    room = CameraRoom(engine, board, section, nodes)
    collector = metrics.BoardCollector(board, engine, section.cameras, section.node)
    herald = None
    if section.heralds:
        herald = Herald(connect(section.redis_url), section.node, room, collector.text)
    return Front(
        settings=settings,
        row=row,
        store=store,
        hub=hub,
        feed=Feed(store),
        engine=engine,
        cameras=room,
        camera_events=CameraEvents(Store(connect(section.redis_url)), hub),
        collector=collector,
        nodes=nodes,
        herald=herald,
        ingest=ingest.IngestRoom(
            section.ingest_path,
            row,
            node=section.node,
            max_bytes=int(settings.max_body_mib * MIB),
        ),
        uploads=_upload_room(section, engine, hub),
    )


def _upload_room(section: ApiSection, engine: EngineLink, hub: Hub) -> UploadRoom:
    """Return the room of uploads, which says why where there can be none."""
    refusal = ""
    if not section.has_cameras:
        refusal = "no engine runs beside this front: upload where the cameras are"
    elif section.hides_plates:
        refusal = 'uploads show plates in plain, which privacy = "hash" forbids'
    settings = UploadsSettings.model_validate_json(section.uploads)
    return UploadRoom(
        UploadFiles(uploads_dir(Path(section.data_dir)), settings),
        engine,
        section.control_path,
        refusal=refusal,
        closing=lambda: hub.closing,
    )


def create_app(front: Front) -> Flask:
    """Return the application."""
    app = Flask("api", static_folder=str(UI), static_url_path="/ui")
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # asked each time, answered by 304
    app.url_map.strict_slashes = False
    problems.install(app)
    app.register_blueprint(page.blueprint())
    app.register_blueprint(stream.blueprint(front.hub, front.feed))
    app.register_blueprint(plates.blueprint(front.store))
    app.register_blueprint(cameras.blueprint(front.cameras))
    app.register_blueprint(camera_events.blueprint(front.store))
    app.register_blueprint(metrics.blueprint(front.collector, front.nodes))
    app.register_blueprint(ingest.blueprint(front.ingest))
    app.register_blueprint(uploads.blueprint(front.uploads))

    @app.get("/healthz")
    def health() -> Response:
        """This process answers; says whether Redis and the engine do, too."""
        found = _health(front)
        return Response(msgspec.json.encode(found), mimetype="application/json")

    @app.before_request
    def refuse_strangers() -> None:
        """Refuse what another site's page makes a browser send."""
        strange = request.headers.get("Sec-Fetch-Site", "") in {"cross-site", "same-site"}
        if strange and request.method not in {"GET", "HEAD", "OPTIONS"}:
            raise ProblemError(403, "pages of other sites may not post here")

    @app.after_request
    def finish(response: Response) -> Response:
        """Count the request and add the headers that every answer carries."""
        front.row.count(Count.REQUESTS)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.path.startswith("/api/") and "Cache-Control" not in response.headers:
            response.cache_control.no_store = True
        return response

    return app


def _health(front: Front) -> Health:
    try:
        front.store.ping()
        redis_answers = True
    except SinkError:
        redis_answers = False
    engine_answers = front.cameras.all().engine
    whole = redis_answers and engine_answers
    return Health("ok" if whole else "degraded", redis_answers, engine_answers)
