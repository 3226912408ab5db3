"""One scripted model behind servers of every dialect: each server puts its answers into its own words.

A further upstream is one more class here: how it writes a :class:`Reply`, and ``[providers]`` for a proxy that uses it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy_core.testing import FakeUpstream, Script, SeenRequest, chunk, stall
from proxy_plugin_anthropic import testing as anthropic
from proxy_plugin_anthropic.testing import FakeAnthropic
from proxy_plugin_gemini import testing as gemini
from proxy_plugin_gemini.testing import FakeGemini
from proxy_plugin_openai_responses import testing as responses
from proxy_plugin_openai_responses.testing import FakeResponses

REFUSAL = "the upstream says no"
BROKEN = "the upstream breaks down"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model answers: pieces of text, and calls of tools by name with their arguments.

    ``ends``: normally, with an error in the stream, or not before the other side leaves. ``refuses``: with a 400.
    """

    text: Sequence[str] = ()
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    ends: str = "well"
    refuses: bool = False


Decide = Callable[[SeenRequest], Reply]


def _json(status: int, body: Any) -> Script:
    return Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))


class ChatUpstream(FakeUpstream):
    """OpenAI's chat completions."""

    name, model = "chat", "up/small"

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.decide = decide

    @property
    def providers(self) -> dict[str, Any]:
        return {"up": {"base_url": self.url, "api_keys": ["sk-upstream-key-0123"]}}

    def _script(self, request: SeenRequest) -> Script:
        if not request.path.endswith("/chat/completions"):
            return super()._script(request)
        reply, number = self.decide(request), len(self.requests)
        if reply.refuses:
            return _json(400, {"error": {"message": REFUSAL, "type": "invalid_request_error", "code": None}})
        if request.json.get("stream"):
            return Script(200, {"content-type": "text/event-stream"}, list(_chunks(reply, number)))
        return _json(200, _completion(reply, number))


def _tool_calls(reply: Reply, number: int) -> list[dict[str, Any]]:
    return [
        {
            "index": at,
            "id": f"call_{number}_{at}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for at, (name, arguments) in enumerate(reply.calls)
    ]


def _chunks(reply: Reply, number: int) -> Iterator[bytes | Any]:
    yield chunk({"role": "assistant", "content": ""})
    for piece in reply.text:
        yield chunk({"content": piece})
    if reply.ends == "broken":
        yield b"data: " + json.dumps({"error": {"message": BROKEN, "type": "server_error"}}).encode() + b"\n\n"
        return
    if reply.ends == "never":
        yield stall()
    for call in _tool_calls(reply, number):
        function, half = call["function"], len(call["function"]["arguments"]) // 2
        begun = {**call, "function": {"name": function["name"], "arguments": function["arguments"][:half]}}
        yield chunk({"tool_calls": [begun]})
        yield chunk({"tool_calls": [{"index": call["index"], "function": {"arguments": function["arguments"][half:]}}]})
    yield chunk({}, finish="tool_calls" if reply.calls else "stop")
    yield chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11})
    yield b"data: [DONE]\n\n"


def _completion(reply: Reply, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.text) or None}
    if reply.calls:
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in _tool_calls(reply, number)]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "small",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if reply.calls else "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }


class ResponsesUpstream(FakeResponses):
    """OpenAI's Responses."""

    name, model = "responses", "up/gpt"

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.decide = decide

    @property
    def providers(self) -> dict[str, Any]:
        return {"up": self.provider}

    def _script(self, request: SeenRequest) -> Script:
        if request.path.partition("?")[0].endswith("/responses"):
            reply = self.decide(request)
            self.queued = deque()
            if reply.refuses:
                self.errs(400, None, REFUSAL)
            else:
                calls = [responses.call(name, json.dumps(arguments)) for name, arguments in reply.calls]
                text = [responses.text(*reply.text)] if reply.text else []
                self.answers(*text, *calls, *_ending(reply, responses.fails("server_error", BROKEN), responses.end()))
        return super()._script(request)


class GeminiUpstream(FakeGemini):
    """Google's public API."""

    name, model = "gemini", "gemini/gemini-2.5-flash"

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.decide = decide

    @property
    def providers(self) -> dict[str, Any]:
        return {"gemini": self.provider}

    def _script(self, request: SeenRequest) -> Script:
        if "enerateContent" in request.path:
            reply = self.decide(request)
            if reply.refuses:
                return gemini.refusal(REFUSAL)
            calls = [gemini.call(name, arguments) for name, arguments in reply.calls]
            error = gemini.error_body(500, "INTERNAL", BROKEN)
            self.queued = deque()
            self.answers(*map(gemini.text, reply.text), *calls, *_ending(reply, error, gemini.finish()))
        return super()._script(request)


class AnthropicUpstream(FakeAnthropic):
    """Anthropic's Messages."""

    name, model = "anthropic", "anthropic/claude-sonnet-5"

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.decide = decide

    @property
    def providers(self) -> dict[str, Any]:
        return {"anthropic": self.provider}

    def _script(self, request: SeenRequest) -> Script:
        if request.path.partition("?")[0] == "/v1/messages":
            reply = self.decide(request)
            if reply.refuses:
                return anthropic.refusal(REFUSAL)
            calls = [anthropic.call(name, arguments) for name, arguments in reply.calls]
            end = anthropic.finish("tool_use" if calls else "end_turn")
            self.queued = deque()
            self.answers(
                *map(anthropic.text, reply.text), *calls, *_ending(reply, anthropic.fails("api_error", BROKEN), end)
            )
        return super()._script(request)


def _ending(reply: Reply, error: Any, end: Any) -> Sequence[Any]:
    return {"well": [end], "broken": [error], "never": [stall()]}[reply.ends]


_ALL = (ChatUpstream, ResponsesUpstream, AnthropicUpstream, GeminiUpstream)
UPSTREAMS = {upstream.name: upstream for upstream in _ALL}
