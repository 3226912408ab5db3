"""Sends large bodies in slices, so that other requests make progress and a stalled upload is noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

SLICED_ABOVE = 512 * 1024
_SLICE = 128 * 1024

#: Called with the number of unsent bytes, before each slice and at the end.
Progress = Callable[[int], None]


def sent_body(content: bytes, progress: Progress | None) -> bytes | AsyncIterator[bytes] | None:
    """The body in the form in which it is sent; ``None`` for an empty one."""
    return _slices(content, progress) if len(content) > SLICED_ABOVE else content or None


async def _slices(content: bytes, progress: Progress | None) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _SLICE):
        if progress is not None:
            progress(len(content) - start)
        yield content[start : start + _SLICE]
    if progress is not None:
        progress(0)
