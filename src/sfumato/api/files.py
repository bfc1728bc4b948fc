"""Sending a finished file from memory. Byte ranges are answered because Safari plays no video without them."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from sfumato.api.errors import ApiError

RANGE = re.compile(r"bytes=(\d{1,15})?-(\d{1,15})?")


def send_file(request: Request, content: bytes, media_type: str, name: str) -> Response:
    """The whole file, or the part that one Range asks for; other ranges are ignored, as the standard allows."""
    headers = {"Accept-Ranges": "bytes", "Content-Disposition": f'inline; filename="{name}"'}
    asked = RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or asked.group(0) == "bytes=-":
        return Response(content, 200, headers, media_type)
    first, last = _bounds(asked.group(1), asked.group(2), len(content))
    if first > last:
        message = f"range: is outside the {len(content)} bytes of the file"
        raise ApiError(416, message, param="range", headers={"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, media_type)


def _bounds(first: str | None, last: str | None, size: int) -> tuple[int, int]:
    if first is None:
        return max(0, size - int(last or 0)), size - 1
    return int(first), min(size - 1, int(last) if last else size - 1)
