"""A fake upstream that is much faster than the systems it measures: raw bytes prepared once, no framework.

``python upstream.py PORT``. It sends plain responses, or streams of 100 chunks: in one burst, or paced
if the body's ``user`` field is ``pace=SECONDS``; a plain response is longer if it is ``size=BYTES``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

CHUNKS = 100
_HEAD = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "small"}
_PACE = re.compile(rb'"user":\s*"pace=([0-9.]+)"')
_SIZE = re.compile(rb'"user":\s*"size=(\d+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def _event(value: dict[str, object]) -> bytes:
    data = b"data: " + json.dumps({**_HEAD, "object": "chat.completion.chunk", **value}).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


_USAGE = {"prompt_tokens": 9, "completion_tokens": 100, "total_tokens": 109}
CHUNK = _event(_choice({"content": "word and "}))
USAGE = _event({"choices": [], "usage": _USAGE})
FINISH = _event(_choice({}, "stop"))
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MESSAGE = {
    "role": "assistant",
    "content": "A message of ordinary length, so that its JSON is as long as that of a short answer.",
}


def plain(more: int) -> bytes:
    """A plain response whose message has so many characters more."""
    message = {**_MESSAGE, "content": _MESSAGE["content"] + "x" * more}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


PLAIN = plain(0)


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not registered as subclasses
        self._buffer = bytearray()
        self._body_at = self._size = 0

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._size or self._read_head():
            if len(self._buffer) < self._size:
                return
            body = bytes(self._buffer[self._body_at : self._size])
            del self._buffer[: self._size]
            self._size = 0
            self._answer(body.replace(b": ", b":"))

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._buffer, 0, end)
        self._body_at = end + 4
        self._size = self._body_at + (int(length[1]) if length else 0)
        return True

    def _answer(self, body: bytes) -> None:
        if b'"stream":true' not in body:
            size = _SIZE.search(body)
            self._transport.write(PLAIN if size is None else plain(int(size[1])))
            return
        tail = FINISH + (USAGE if b'"include_usage":true' in body else b"") + DONE
        pace = _PACE.search(body)
        if pace is None:
            self._transport.write(STREAM + CHUNK * CHUNKS + tail)
        else:
            self._transport.write(STREAM + CHUNK)
            self._pace(float(pace[1]), CHUNKS - 1, tail)

    def _pace(self, gap_s: float, left: int, tail: bytes) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(tail)
            return
        asyncio.get_running_loop().call_later(gap_s, self._next, gap_s, left, tail)

    def _next(self, gap_s: float, left: int, tail: bytes) -> None:
        self._transport.write(CHUNK)
        self._pace(gap_s, left - 1, tail)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
