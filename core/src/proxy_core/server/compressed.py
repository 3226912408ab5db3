"""Decompresses request bodies, up to the limit for a body: a few kilobytes can hold gigabytes."""

from __future__ import annotations

from proxy_core.errors import BadRequest, BodyTooLarge
from proxy_core.jsons import beside
from proxy_core.network.decoding import UnknownEncoding, decompressor, layer

_KNOWN = "gzip, deflate, br, zstd"


async def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Raises ``BodyTooLarge``; ``BadRequest`` for an unknown encoding (415) and for damaged data."""
    try:
        name = layer(encoding)
        return body if name is None else await beside(_whole, body, name, limit)
    except UnknownEncoding as error:
        refused = BadRequest(f"The request body has {error}; this server reads {_KNOWN}.", code="unsupported_encoding")
        refused.status = 415
        raise refused from None
    except ValueError as error:
        raise BadRequest(f"The request body is not what its content-encoding says: {error}.") from None


def _whole(body: bytes, encoding: str, limit: int) -> bytes:
    stream = decompressor(encoding)
    parts, size = [], 0
    for piece in stream.pieces(body):
        parts.append(piece)
        size += len(piece)
        if size > limit:
            raise BodyTooLarge(f"The request body is larger than {limit} bytes after it was decompressed.")
    stream.close()
    return b"".join(parts)
