"""Notes who searched, exported, changed something or logged in; ``/api/v1/audit`` shows it.

Which requests are noted follows from what views declare: every change, except what agents post, and
every look-up that says whom it looks for. Of strangers only log-ins are noted, they may do nothing
else. No room does anything for it; one that has more to say than the address puts it into
``flask.g.what``.

Where plates leave the publisher as keyed hashes, those that were asked for stand here as such, too:
the same one can be recognized, none be read.
"""

import logging
import time
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from flask import Blueprint, Flask, Response, current_app, g, request

from api.access import LOG_IN, STATIC
from api.endpoints import Endpoint, declared_by, endpoint
from api.problems import ProblemError
from engine.audit import AuditLog, AuditPage, Entry
from engine.board import Count, Row
from engine.errors import PlateringError
from engine.plates import normalise
from engine.scopes import Scope
from engine.types import DISGUISED

NOBODY: Final = "nobody"
SEARCHED: Final = frozenset({"plate", "camera", "list", "region", "before", "after"})
"""Words of a query string that narrow down who is looked for, where plates can be looked for."""
TELLTALES: Final = ("plate", "cursor")
"""Words of a query string whose values show a plate."""
LOOK_UPS: Final = frozenset({Scope.READ, Scope.OPERATE, Scope.ADMIN})

log = logging.getLogger(__name__)


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the log."""

    cursor: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class Auditor:
    """Writes what was done, once it is answered."""

    def __init__(
        self, audit_log: AuditLog, row: Row, disguise: Callable[[str], str] | None
    ) -> None:
        """Write to ``audit_log``, plates as ``disguise`` has them; None: as they are."""
        self._log, self._row = audit_log, row
        self._disguise = disguise

    def install(self, app: Flask) -> None:
        """Look at every answer."""
        app.after_request(self.note)

    def note(self, response: Response) -> Response:
        """Note a request if it is of those that count; return the response as it is."""
        if not _counts(response.status_code):
            return response
        entry = Entry(
            at_unix_ms=time.time_ns() // 1_000_000,
            who=g.get("actor", "") or NOBODY,
            address=g.origin.address,
            action=f"{request.method} {request.url_rule}",
            what=g.get("what", "") or self._asked(),
            status=response.status_code,
        )
        try:
            self._log.write(entry)
        except PlateringError as error:
            self._row.count(Count.AUDIT_LOST)
            log.error("%s %s is not in the audit log: %s", entry.who, entry.action, error)  # noqa: TRY400  # expected, one line
        return response

    def _asked(self) -> str:
        """Return the address that was asked for."""
        if self._disguise is None:
            return request.full_path.rstrip("?")
        path, plate = request.path, (request.view_args or {}).get("plate")
        if plate:
            path = path.removesuffix(plate) + self._hidden(plate)
        asked = [
            f"{name}={self._hidden(value) if name in TELLTALES else value}"
            for name, value in request.args.items(multi=True)
        ]
        return f"{path}?{'&'.join(asked)}" if asked else path

    def _hidden(self, plate: str) -> str:
        """Return a plate as its hash; where the key is not here, nothing of it."""
        text = normalise(plate)
        hashed = self._disguise(text) if self._disguise is not None else DISGUISED
        return hashed if hashed != text else DISGUISED


def _counts(status: int) -> bool:
    """Tell whether this request is one that the log is for."""
    if request.endpoint in (None, STATIC) or request.method == "OPTIONS":
        return False
    declared = declared_by(current_app.view_functions[request.endpoint or ""])
    needs = declared.needs if declared is not None else None
    if request.endpoint == LOG_IN:
        return status != 429  # that is counted: whoever tries without end shall not fill the log
    if needs is Scope.INGEST or not g.get("actor"):  # strangers are refused, and counted
        return False
    if request.method not in {"GET", "HEAD"}:  # HEAD, too, tells how much was found
        return True
    if needs not in LOOK_UPS or not _finds_plates(declared):
        return False
    return str(request.url_rule).endswith("/export") or bool(SEARCHED & request.args.keys())


def _finds_plates(declared: Endpoint | None) -> bool:
    """Tell whether a view looks for plates, as far as it says what it takes."""
    query = declared.query if declared is not None else None
    return query is None or "plate" in query.__struct_fields__


def blueprint(audit_log: AuditLog) -> Blueprint:
    """Return the route of this room."""
    routes = Blueprint("audit", __name__)

    @routes.get("/api/v1/audit")
    @endpoint(needs=Scope.ADMIN, query=Page, answers=AuditPage)
    def audit(query: Page) -> AuditPage:
        """Who did what, the newest first; ``next`` is the cursor of older entries."""
        try:
            return audit_log.page(query.cursor, query.limit)
        except ValueError as error:
            raise ProblemError(400, str(error), field="cursor") from error

    return routes
