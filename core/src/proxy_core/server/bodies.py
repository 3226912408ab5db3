"""Reads request bodies as a whole."""

from __future__ import annotations

from starlette.requests import Request

from proxy_core.errors import BodyTooLarge


async def read_body(request: Request, limit: int) -> bytes:
    """Raises ``BodyTooLarge`` as soon as the limit is exceeded."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise BodyTooLarge(f"The request body is larger than {limit} bytes.")
    return b"".join(parts)
