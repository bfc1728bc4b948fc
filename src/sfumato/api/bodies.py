"""Reading what a client sent into named fields: JSON or multipart, within the size limit, SLO headers merged in.

The official client posts videos as multipart with every value a string; both forms end as the same plain dict, whose
values the schemas check. A null is a field that was left out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sfumato.api.errors import ApiError, invalid

# Fields that may come as headers (x-sfumato-slo-ms), for clients that cannot add any to the body, which goes first.
HEADERS = ("slo", "slo_ms", "deadline_ms", "priority", "degradable")

Fields = dict[str, Any]

PATIENCE = 64  # times the limit, then the connection is cut


async def read_fields(request: Request, limit: int) -> Fields:
    """The fields of a POST. Raises ApiError for what is too large, malformed, or neither JSON nor multipart."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    packed = request.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise ApiError(415, f"content encoding {packed[:60]!r} is not understood; send the body as it is")
    body = await _read(request, limit)
    if kind == "multipart/form-data":
        fields = await _multipart(request, body)
    elif kind == "application/json":
        fields = _json(body)
    else:
        message = f"content type {kind!r} is not understood; send application/json or multipart/form-data"
        raise ApiError(415, message)
    return _headers(request) | {name: value for name, value in fields.items() if value is not None}


async def _read(request: Request, limit: int) -> bytes:
    """The body. What is too much is read on without being kept, as a client hears no answer while it still sends."""
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            body += part
        elif size > PATIENCE * limit:
            break
    if size > limit:
        raise ApiError(413, f"the body is larger than {limit} bytes; send less", headers={"Connection": "close"})
    return bytes(body)


def _json(body: bytes) -> Fields:
    try:
        fields = from_json(body)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON ({error}); mend it", code="malformed_body") from None
    if not isinstance(fields, dict):
        message = 'the body must be a JSON object, such as {"prompt": "a red circle"}'
        raise ApiError(400, message, code="malformed_body")
    return fields


async def _multipart(request: Request, body: bytes) -> Fields:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once(), max_files=2, max_fields=100).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or "no boundary in the content type, or no text in a field"
        message = f"the body is not multipart/form-data ({reason}); mend it"
        raise ApiError(400, message, code="malformed_body") from None
    try:
        return _texts(form)
    finally:
        await form.close()


def _texts(form: FormData) -> Fields:
    fields: Fields = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name != "input_reference":
            raise invalid(name, "is a file; send it as a plain field")
        if name in fields:
            raise invalid(name, "is given twice; send it once")
        fields[name] = value if isinstance(value, str) else value.filename
    return fields


def _headers(request: Request) -> Fields:
    found = {name: request.headers.get(f"x-sfumato-{name.replace('_', '-')}") for name in HEADERS}
    return {name: value for name, value in found.items() if value is not None}
