"""Every error of the HTTP service in the one shape that clients read: {"error": {message, type, param, code}}.

What a client can mend is a 4xx that names the field; what it may try again says so by Retry-After; whatever would end
the same way again says `x-should-retry: false`, because the usual clients post anew after a 429 or 5xx.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from sfumato.errors import OverloadedError, RequestError, SfumatoError

# Where the field of a request is called otherwise than in a model's offer.
FIELDS = {"steps": "num_inference_steps", "guidance": "guidance_scale", "guidance_2": "guidance_scale_2"}
CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
NO_RETRY = {"x-should-retry": "false"}


class ApiError(SfumatoError):
    """An answer other than 2xx."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers


def invalid(param: str | None, message: str) -> ApiError:
    """A request that has to be changed; the message says what is wrong with `param` and what would be accepted."""
    return ApiError(400, f"{param}: {message}" if param else message, param=param, code="invalid_value")


def unknown(what: str, its_id: str, fix: str) -> ApiError:
    """An id that nothing here has."""
    return ApiError(404, f"id: there is no {what} {its_id[:100]!r}; {fix}", param="id", code="not_found")


def rejected(reason: str, field: str = "") -> ApiError:
    """Admission said no, and would again: no rank can hold what `field` asks for, or the deadline cannot be met."""
    if field:
        return invalid(field, reason)
    message = f"refused: {reason or 'the deadline cannot be met'}; allow more time, or send slo=none for best effort"
    return ApiError(429, message, code="rejected", headers=NO_RETRY)


def respond(error: ApiError) -> JSONResponse:
    kind = {429: "rate_limit_error"}.get(error.status, "server_error" if error.status >= 500 else None)
    body = {
        "message": str(error),
        "type": kind or "invalid_request_error",
        "param": error.param,
        "code": error.code or CODES.get(error.status),
    }
    return JSONResponse({"error": body}, error.status, dict(error.headers or {}))


async def _api(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return respond(error)


async def _request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    field = error.field or ""
    param, message = FIELDS.get(field, field), str(error)
    if message.startswith(f"{field}:"):
        message = param + message[len(field) :]
    return respond(ApiError(400, message, param=param or None, code="invalid_value"))


async def _overloaded(_: Request, error: Exception) -> Response:
    assert isinstance(error, OverloadedError)
    headers = {"Retry-After": str(max(1, ceil(error.retry_after_s)))}
    return respond(ApiError(429, str(error), code="overloaded", headers=headers))


async def _unavailable(_: Request, error: Exception) -> Response:
    return respond(ApiError(503, str(error), code="unavailable", headers=NO_RETRY))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        message = f"there is no {where}; see POST /v1/images/generations, POST /v1/videos, GET /v1/models"
    elif error.status_code == 405:
        message = f"{where} is not possible; use {' or '.join(_methods(request)) or 'another method'}"
    else:
        message = str(error.detail)
    return respond(ApiError(error.status_code, message, headers=error.headers))


def _methods(request: Request) -> list[str]:
    """What is possible at a path: several routes may share it."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()} - {"HEAD"})


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _unexpected(_: Request, error: Exception) -> Response:
    # Starlette raises it again behind this answer, so the server logs it.
    message = f"internal error ({type(error).__name__}); the server's log has the details"
    return respond(ApiError(500, message, code="internal_error", headers=NO_RETRY))


HANDLERS: dict[Any, Any] = {
    ApiError: _api,
    RequestError: _request,
    OverloadedError: _overloaded,
    SfumatoError: _unavailable,
    HTTPException: _http,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
