"""Brotli and Zstandard, with the same bounds as zlib: no piece is large, however little input it takes."""

from __future__ import annotations

from collections.abc import Iterator

import brotli  # type: ignore[import-untyped]  # has no types
import zstandard

_PIECE = 64 * 1024
#: Four bytes of Zstandard can stand for 128 KiB, so this much input makes 8 MiB at most.
_SLICE = 256
#: What RFC 8878 asks decoders to support.
_MAX_WINDOW = 8 * 1024 * 1024


class Brotli:
    """One body. :meth:`pieces` and :meth:`close` raise ``ValueError`` if it is damaged."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        try:
            piece = self._stream.process(data, output_buffer_limit=_PIECE)
            while piece or not self._stream.can_accept_more_data():
                yield piece
                piece = self._stream.process(b"", output_buffer_limit=_PIECE)
        except brotli.error as error:
            raise ValueError(str(error)) from None

    def close(self) -> None:
        if self._begun and not self._stream.is_finished():
            raise ValueError("the compressed data ends early")


class Zstandard:
    """The same."""

    def __init__(self) -> None:
        self._stream = _zstandard()
        self._unfinished = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            for start in range(0, len(data), _SLICE):
                rest = data[start : start + _SLICE]
                while rest:
                    if self._stream.eof:
                        self._stream = _zstandard()  # frames may follow each other
                    yield self._stream.decompress(rest)
                    self._unfinished = not self._stream.eof
                    rest = self._stream.unused_data if self._stream.eof else b""
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None

    def close(self) -> None:
        if self._unfinished:
            raise ValueError("the compressed data ends early")


def _zstandard() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
