"""Recognizes the events of a stream that differ in their text only, which most do, without reading each of them."""

from __future__ import annotations

import re
from itertools import takewhile

_TEXT = re.compile(rb'"(?:content|reasoning_content|reasoning|text)"\s*:\s*"')
#: A stream whose events differ in more than their text is not searched for alike ones forever.
_MOST_LEARNED = 8


class TextEvents:
    """Relays events like the last one that it has learned: the same bytes before and after a JSON string.

    A quotation mark in that string, even an escaped one, makes an event unlike, and so do line breaks.
    """

    __slots__ = ("_after", "_before", "_between", "_key", "_learned", "_passed")

    def __init__(self) -> None:
        self._before = self._key = self._after = self._between = self._passed = b""
        self._learned = 0

    def learn(self, event: bytes, passed: bytes) -> None:
        """``event``: has nothing that a reader of the stream needs; ``passed``: what the client receives for it."""
        text = _TEXT.search(event) if self._learned < _MOST_LEARNED else None
        if text is None or event.find(b"\n\n") != len(event) - 2:
            return
        self._learned += 1
        begin, end = text.end(), event.find(b'"', text.end())
        if event[end - 1 : end] != b"\\" and passed.endswith(event[begin:]):
            self._before, self._key, self._after = event[: text.start()], text[0], event[end:]
            self._between = self._after + self._before
            self._passed = passed[: len(passed) - len(event) + begin]

    def relay(self, block: bytes) -> tuple[bytes, bytes]:
        """What the client receives for the alike events that ``block`` begins with, and the rest of it."""
        before, key, between = self._before, self._key, self._between
        if not key or not block.startswith(before):
            return b"", block
        first, *pieces = (block + before).split(key)  # the search for a longer separator would take three times as long
        if first != before:
            return b"", block
        texts = []
        for piece in pieces:
            text = piece.removesuffix(between)
            if len(text) == len(piece):
                break
            texts.append(text)
        if not _plain(b"".join(texts)):
            texts = list(takewhile(_plain, texts))
        unlike = pieces[len(texts) :]
        rest = before + key + key.join(unlike)[: -len(before)] if unlike else b""
        return self._passed + (self._after + self._passed).join(texts) + self._after if texts else b"", rest


def _plain(text: bytes) -> bool:
    return b'"' not in text and b"\n" not in text
