"""Decompresses bodies piece by piece, so that the reader can stop at a limit before the memory is used.

The proxy asks for uncompressed responses. A server that compresses nevertheless may do so once: a few hundred bytes in
two layers of gzip can hold gigabytes, and no server has a reason for it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

from proxy_core.network.errors import TransportError

_PIECE = 64 * 1024
#: After how many pieces other requests get their turn, even if more input has arrived.
_TURN = 8
#: zlib's window: that of gzip, of zlib, and of bare deflate data, which some servers call "deflate", too.
_GZIP, _ZLIB, _BARE = 31, 15, -15


class UnknownEncoding(ValueError):
    """The body is encoded in a way, or so often, that it is not read."""


class Inflater:
    """The decompressed data of one body. :meth:`pieces` and :meth:`close` raise ``ValueError`` if it is damaged."""

    def __init__(self, encoding: str) -> None:
        """Raises ``UnknownEncoding``. ``encoding`` is one of those that :func:`layer` returns."""
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise UnknownEncoding(f"content-encoding {encoding[:40]!r}")
        self._window = _GZIP if encoding != "deflate" else 0  # 0: to be seen from the first two bytes
        self._stream = zlib.decompressobj(_GZIP)
        self._head = b""
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` adds, in pieces of at most 64 KiB; each is made when it is asked for."""
        if not self._window:
            data = self._look(data)
        self._begun = self._begun or bool(data)
        full = False  # a full piece may leave more output behind than there is input
        while data or full:
            if self._stream.eof:
                if not data.strip(b"\0"):
                    return  # padding
                self._stream = zlib.decompressobj(self._window)  # gzip allows several members, one after the other
            piece = self._inflate(data)
            data = self._stream.unused_data or self._stream.unconsumed_tail
            full = len(piece) == _PIECE and not self._stream.eof
            if piece:
                yield piece

    def close(self) -> None:
        if (self._begun or self._head) and not self._stream.eof:
            raise ValueError("the compressed data ends early")

    def _look(self, data: bytes) -> bytes:
        """What can be decompressed now: nothing before two bytes are there."""
        self._head += data
        if len(self._head) < 2:
            return b""
        first, both = self._head[0], int.from_bytes(self._head[:2])
        self._window = _ZLIB if first & 0x0F == 8 and both % 31 == 0 else _BARE
        self._stream = zlib.decompressobj(self._window)
        return self._head

    def _inflate(self, data: bytes) -> bytes:
        try:
            return self._stream.decompress(data, _PIECE)
        except zlib.error as error:
            raise ValueError(str(error)) from None


class Decompressor(Protocol):
    """The decompressed data of one body. Both methods raise ``ValueError`` if it is damaged."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...
    def close(self) -> None: ...


def decompressor(encoding: str) -> Decompressor:
    """For one of the encodings that :func:`layer` returns. Raises ``UnknownEncoding``."""
    if encoding not in ("br", "zstd"):
        return Inflater(encoding)
    from proxy_core.network.compressions import Brotli, Zstandard  # rarely needed

    return Brotli() if encoding == "br" else Zstandard()


def layer(encoding: str) -> str | None:
    """The one encoding that a ``content-encoding`` header names; ``None`` if it names none.

    Raises ``UnknownEncoding`` if it names several. ``encoding`` joins the values of repeated headers by commas.
    """
    named = [word.strip().lower() for word in encoding.split(",")]
    found = [word for word in named if word not in ("", "identity")]
    if len(found) > 1:
        raise UnknownEncoding("several layers of content-encoding")
    return found[0] if found else None


async def decoded(pieces: AsyncGenerator[bytes, None], encoding: str) -> AsyncGenerator[bytes, None]:
    """An upstream's body without its content-encoding. Raises ``TransportError``."""
    try:
        name = layer(encoding)
        inflater = decompressor(name) if name is not None else None
    except UnknownEncoding as error:
        raise TransportError("unreadable", f"its body has {error}, although none was asked for") from None
    made = 0
    try:
        async for data in pieces:
            for piece in inflater.pieces(data) if inflater is not None else (data,):
                yield piece
                made += 1
                if made % _TURN == 0:
                    await asyncio.sleep(0)
        if inflater is not None:
            inflater.close()
    except ValueError as error:
        raise TransportError("unreadable", "its body is not what its content-encoding says") from error
