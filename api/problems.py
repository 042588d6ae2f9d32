"""Answers that are no success: problem+json (RFC 9457), one sentence, the field, never a trace."""

import logging
from http import HTTPStatus
from typing import Final

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from engine.errors import PayloadError, SinkError

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

SENTENCES = {
    404: "there is nothing at this address",
    405: "this address does not take that method",
    413: "the body is too large",
    415: "send JSON: Content-Type: application/json",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer that is no success."""

    type: str
    """Always ``about:blank``: the status says what kind of problem it is."""
    title: str
    """The status in words."""
    status: int
    detail: str
    """One sentence: what is wrong, and what to do."""
    error: str
    """The same sentence, for readers of before problem+json."""
    field: str = ""
    """Which part of what was sent is wrong, where it is one."""


class ProblemError(Exception):
    """A request cannot be answered as asked: status, sentence, field and how long to wait."""

    def __init__(
        self, status: int, error: str, *, field: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.field = field
        self.retry_after_s = retry_after_s


def respond(problem: ProblemError) -> Response:
    """Return a problem as an answer."""
    try:
        title = HTTPStatus(problem.status).phrase
    except ValueError:
        title = "Problem"
    body = Problem(
        type="about:blank",
        title=title,
        status=problem.status,
        detail=problem.error,
        error=problem.error,
        field=problem.field,
    )
    response = Response(msgspec.json.encode(body), status=problem.status, mimetype=MEDIA_TYPE)
    response.cache_control.no_store = True
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    response = respond(ProblemError(status, SENTENCES.get(status, error.name.lower())))
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def _of_payload(error: PayloadError) -> Response:
    return respond(ProblemError(400, str(error), field=error.field))


def _of_redis(error: SinkError) -> Response:
    log.debug("a request met %s", error)
    return respond(ProblemError(503, "Redis does not answer now", retry_after_s=1))


def _of_anything(error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return respond(ProblemError(500, "something went wrong here; the log says what"))


def install(app: Flask) -> None:
    """Make the application answer every error in this form."""
    app.register_error_handler(ProblemError, respond)
    app.register_error_handler(PayloadError, _of_payload)
    app.register_error_handler(SinkError, _of_redis)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_anything)
