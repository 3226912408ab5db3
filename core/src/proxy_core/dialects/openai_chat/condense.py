"""Condenses a streamed chat response to a few events instead of hundreds, if only the whole is needed.

Otherwise assembling a stream for a record would cost more than relaying it did.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from proxy_core import sse
from proxy_core.dialects.common import json_bytes
from proxy_core.jsons import loads
from proxy_core.messages import JsonObject

_TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
_PREFIX = b"data: "
_END = b"\n\n"
#: Where a text begins, and the rest of it with its closing quote.
_BEGIN = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal)" ?: ?"')
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"')
#: Whole texts, one per line. With a quote that is not escaped, a line holds more than a text.
_WHOLE_TEXTS = re.compile(rb'(?:[^"\\]++|\\[^\n])*+')
#: Kinds of chunks that are joined without being read.
_KINDS = 4


def condensed(stream: bytes) -> bytes:
    """The same response, with consecutive texts of one kind merged.

    A stream that does not consist of plain lines of JSON objects is returned unchanged.
    """
    if b"\r" in stream or not stream.startswith(_PREFIX):  # legal, and rare enough for the slow path
        return stream
    # A short separator would be searched for at every byte.
    *events, last = stream[len(_PREFIX) :].split(_END + _PREFIX)
    event, end, tail = last.partition(_END)
    if end and not event.startswith(b"[DONE]"):
        events.append(event)
    else:
        tail = _PREFIX + last
    events = _joined(events)
    if not all(event.startswith(b"{") and b"\n" not in event for event in events):  # so are several lines
        return stream
    try:
        chunks = loads(b"[" + b",".join(events) + b"]")
    except ValueError:
        return stream
    return b"".join(sse.encode(json_bytes(chunk)) for chunk in _merged(chunks)) + tail


def _joined(events: list[bytes]) -> list[bytes]:
    """The same response, with events joined that differ in nothing but a text; they are not read as JSON.

    Members at the end of a chunk stay with it, and those of the first chunk are the response's: it is not joined.
    """
    joined, at = events[:1], 1
    for _ in range(_KINDS):
        if at < len(events):
            event, at = _run(events, at)
            joined.append(event)
    return joined + events[at:]


def _run(events: list[bytes], at: int) -> tuple[bytes, int]:
    """The event at ``at``, with the texts of those that follow it and are alike, and where they are over."""
    frame = _frame(events[at])
    if frame is None:
        return events[at], at + 1
    before, after = frame
    size = len(before) + len(after)
    texts = []
    for event in islice(events, at, None):
        text = event.removeprefix(before).removesuffix(after)
        if len(event) - len(text) != size:
            break
        texts.append(text)
    if _WHOLE_TEXTS.fullmatch(b"\n".join(texts)) is None:
        return events[at], at + 1
    return before + b"".join(texts) + after, at + len(texts)


def _frame(chunk: bytes) -> tuple[bytes, bytes] | None:
    """What surrounds the text in a chunk that only adds text."""
    begin = _BEGIN.search(chunk)
    rest = begin and _REST.match(chunk, begin.end())
    if begin is None or rest is None:
        return None
    before, after = chunk[: begin.end()], chunk[rest.end() - 1 :]
    try:
        value, empty = loads(chunk), loads(before + after)
    except ValueError:
        return None
    kind = _only_text(value)
    if kind is None:
        return None
    value["choices"][0]["delta"][kind[1]] = ""
    return (before, after) if value == empty else None


def _merged(chunks: list[Any]) -> list[Any]:
    out: list[Any] = []
    run: list[str] = []
    before: tuple[object, str] | None = None
    for chunk in chunks:
        kind = _only_text(chunk)
        if kind is not None and kind == before:
            run.append(chunk["choices"][0]["delta"][kind[1]])
            continue
        _end(out, run, before)
        out.append(chunk)
        before, run = kind, []
    _end(out, run, before)
    return out


def _end(out: list[Any], run: list[str], kind: tuple[object, str] | None) -> None:
    if run and kind is not None:
        delta = out[-1]["choices"][0]["delta"]
        delta[kind[1]] = "".join([delta[kind[1]], *run])


def _only_text(chunk: JsonObject) -> tuple[object, str] | None:
    """``(choice, field)`` of a chunk that only adds text to one choice."""
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        changed = [name for name, value in delta.items() if value is not None and name != "role"]
        ends = choice.get("finish_reason") is not None or choice.get("logprobs")
    except (KeyError, ValueError, TypeError, AttributeError):  # another shape, which is left unchanged
        return None
    if ends or len(changed) != 1 or chunk.get("usage") or chunk.get("error"):
        return None
    name: str = changed[0]
    return (choice.get("index"), name) if name in _TEXTS and isinstance(delta[name], str) else None
