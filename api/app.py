"""The Flask application: the rooms put together, the headers that every answer carries."""

from pathlib import Path
from typing import Final

import msgspec
from flask import Flask, Response, g, request

from api import (
    audit,
    camera_events,
    camera_orders,
    cameras,
    corrections,
    ingest,
    keys,
    metrics,
    openapi,
    page,
    plates,
    problems,
    sessions,
    statistics,
    stream,
    system,
    uploads,
    watchlists,
)
from api.access import Access
from api.audit import Auditor
from api.camera_events import CameraEvents
from api.cameras import CameraRoom, Viewers
from api.docs import page as docs
from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.feed import Feed
from api.herald import Herald
from api.hub import Hub
from api.nodes import Nodes
from api.patience import SlowClientError
from api.problems import ProblemError
from api.redis_watch import RedisWatch
from api.snapshots import plates_in_view
from api.stays import Stays
from api.stream_limits import StreamLimits
from api.system import SystemRoom
from api.upload_files import UploadFiles
from api.uploads import UploadRoom
from api.watchlists import ListRoom
from engine.audit import AuditLog
from engine.board import Board, Count, Row
from engine.config import ApiSettings
from engine.corrections import Corrector
from engine.errors import SinkError
from engine.privacy import KEY_FILE, disguise_of
from engine.records import FOLDER
from engine.sections import ApiSection
from engine.store import Store, connect
from engine.upload_settings import UploadsSettings
from engine.uploads import uploads_dir
from engine.watchlists.entries import FILE_NAME as WATCHLISTS

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

HSTS: Final = "max-age=31536000"
"""A browser that came over TLS once does so for a year."""


class Health(msgspec.Struct, frozen=True):
    """The answer of ``/healthz``: this process answers; what stands behind it may not."""

    status: str
    redis: bool
    engine: bool


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rooms work with; made once per process by ``api.server``."""

    settings: ApiSettings
    row: Row
    board: Board
    store: Store
    corrector: Corrector
    hub: Hub
    streams: stream.StreamRoom
    engine: EngineLink
    cameras: CameraRoom
    camera_events: CameraEvents
    collector: metrics.BoardCollector
    nodes: Nodes
    redis_watch: RedisWatch
    lists: ListRoom
    system: SystemRoom
    herald: Herald | None
    """Where this process speaks for its machine."""
    ingest: ingest.IngestRoom
    uploads: UploadRoom
    access: Access
    audit_log: AuditLog


def build_front(
    section: ApiSection, process: str, row: Row, board: Board, *, loopback: bool
) -> Front:
    """Make everything that the rooms work with; nothing is connected yet.

    ``process`` is the name of this process among those of its machine; ``loopback`` says that only
    this machine reaches its listener.
    """
    data_dir = Path(section.data_dir)
    disguise = disguise_of(data_dir / "engine" / KEY_FILE)
    client = connect(section.redis_url, answer_timeout_s=ANSWER_WITHIN_S)
    store = Store(client, disguise)
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
    room = CameraRoom(engine, board, section, nodes, plates_in_view(store))
    collector = metrics.BoardCollector(
        board, engine, section.cameras, section.node, section.data_dir
    )
    access = Access(data_dir, settings, row, loopback=loopback)
    herald = None
    if section.heralds:
        herald = Herald(connect(section.redis_url), section.node, room, collector.text)
    has_lists = bool(section.data_dir) and section.has_cameras
    return Front(
        settings=settings,
        row=row,
        board=board,
        store=store,
        corrector=Corrector(store, client),
        hub=hub,
        streams=stream.StreamRoom(
            hub,
            Feed(store),
            StreamLimits(settings.streams_per_key, settings.streams_per_address),
            lambda: nodes.clients,
            Stays(access.holds),
        ),
        engine=engine,
        cameras=room,
        camera_events=CameraEvents(Store(connect(section.redis_url)), hub),
        collector=collector,
        nodes=nodes,
        redis_watch=RedisWatch(connect(section.redis_url, answer_timeout_s=ANSWER_WITHIN_S)),
        lists=ListRoom(Path(section.data_dir) / "engine" / WATCHLISTS if has_lists else None),
        system=SystemRoom(section, store, board, engine),
        herald=herald,
        ingest=ingest.IngestRoom(
            section.ingest_path,
            row,
            node=section.node,
            max_bytes=int(settings.max_body_mib * MIB),
            keep_payloads=settings.keep_payloads,
        ),
        uploads=_upload_room(section, engine, hub),
        access=access,
        audit_log=AuditLog(data_dir / FOLDER, settings.audit_mib * MIB),
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
    front.access.install(app)
    Auditor(front.audit_log, front.row).install(app)
    app.register_blueprint(stream.blueprint(front.streams))
    app.register_blueprint(plates.blueprint(front.store))
    app.register_blueprint(corrections.blueprint(front.store, front.corrector))
    viewers = Viewers(front.cameras, lambda: front.hub.closing)
    app.register_blueprint(cameras.blueprint(front.cameras, viewers))
    app.register_blueprint(camera_orders.blueprint(front.cameras, front.engine))
    app.register_blueprint(camera_events.blueprint(front.store))
    app.register_blueprint(metrics.blueprint(front.collector, front.nodes, front.redis_watch))
    app.register_blueprint(ingest.blueprint(front.ingest, front.store))
    app.register_blueprint(uploads.blueprint(front.uploads))
    app.register_blueprint(watchlists.blueprint(front.lists))
    app.register_blueprint(statistics.blueprint(front.store, front.board))
    app.register_blueprint(system.blueprint(front.system, front.nodes))
    app.register_blueprint(sessions.blueprint(front.access, front.settings.session_hours))
    app.register_blueprint(keys.blueprint(front.access.keys))
    app.register_blueprint(audit.blueprint(front.audit_log))
    app.register_blueprint(openapi.blueprint(app))
    app.register_blueprint(docs.blueprint(app))

    @app.get("/healthz")
    @endpoint(needs=None, answers=Health)
    def health() -> Health:
        """This process answers; says whether Redis and the engine do, too."""
        return _health(front)

    @app.errorhandler(SlowClientError)
    def too_slow(error: SlowClientError) -> Response:
        """Tell a client that its body came too slowly; its connection ends."""
        front.row.count(Count.CONNECTIONS_CUT)
        return problems.respond(ProblemError(408, str(error)))

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
        if g.origin.is_secure:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
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
