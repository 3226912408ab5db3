"""How a provider's format spells a good response: recorded samples, from which the faults are made."""

from __future__ import annotations

import json
import re

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.testing.steps import chunk
from proxy_core.testing.upstream import Script

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n)|.+\Z", re.DOTALL)
_LINE = re.compile(rb".*?\n|.+\Z", re.DOTALL)


class Wire(Struct, frozen=True, kw_only=True):
    """``stream`` and ``plain`` are complete responses, as the upstream sends them to a client that streams or does not.

    ``calls`` is a stream with two parallel tool calls; ``failure`` is how the upstream reports an error in a response
    that has status 200. What is empty is not known. ``stream_type`` is the stream's content type, if it is not the
    usual one of its format. ``committed`` is the number of pieces up to the first content.
    """

    stream: bytes
    stream_type: str = ""
    plain: bytes = b""
    calls: bytes = b""
    failure: bytes = b""
    committed: int = 1

    @property
    def pieces(self) -> list[bytes]:
        """The stream by events, or by lines."""
        return (_EVENT if self.events else _LINE).findall(self.stream)

    @property
    def events(self) -> bool:
        """Whether it is an event stream; if not, it has one JSON value a line."""
        return re.search(rb"^(data|event|id|retry|):", self.stream, re.MULTILINE) is not None

    @property
    def garbage(self) -> bytes:
        """A piece that cannot be read."""
        return b'data: {"broken\n\n' if self.events else b'{"broken\n'

    @property
    def broken_off(self) -> list[bytes]:
        """The pieces up to the first content."""
        return self.pieces[: self.committed]

    def with_commit(self, committed: int) -> Wire:
        return replace(self, committed=committed)

    def whole(self, stream: bool) -> Script:
        """The good response."""
        return Script(200, self.headers(stream), (self.stream if stream else self.plain,))

    def headers(self, stream: bool) -> dict[str, str]:
        kind = self.stream_type or ("text/event-stream" if self.events else "application/x-ndjson")
        return {"content-type": kind if stream else "application/json"}


def _call(index: int, arguments: str, **first: str) -> dict[str, object]:
    named = {"id": first["id"], "type": "function"} if first else {}
    function = {"name": first["name"], "arguments": arguments} if first else {"arguments": arguments}
    return {"index": index, **named, "function": function}


_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
_DONE = b"data: [DONE]\n\n"
_MESSAGE = {"role": "assistant", "content": "héllo wörld"}
_PLAIN = {
    "id": "chatcmpl-up",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "small",
    "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
    "usage": _USAGE,
}

#: OpenAI's chat format.
OPENAI = Wire(
    stream=b"".join(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "héllo"}).replace(b"\\u00e9", "é".encode()),
            chunk({"content": " wörld"}).replace(b"\\u00f6", "ö".encode()),
            chunk({}, finish="stop"),
            chunk(usage=_USAGE),
            _DONE,
        ]
    ),
    plain=json.dumps(_PLAIN, ensure_ascii=False).encode(),
    calls=b"".join(
        [
            chunk({"role": "assistant", "content": None}),
            chunk({"tool_calls": [_call(0, "", id="call_a", name="look"), _call(1, "", id="call_b", name="find")]}),
            chunk({"tool_calls": [_call(1, '{"b":')]}),
            chunk({"tool_calls": [_call(0, '{"a":1}'), _call(1, "2}")]}),
            chunk({}, finish="tool_calls"),
            chunk(usage=_USAGE),
            _DONE,
        ]
    ),
    failure=b'{"error": {"message": "The engine is overloaded.", "type": "server_error", "code": "overloaded"}}',
    committed=2,
)
