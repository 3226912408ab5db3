"""One scripted model behind servers of every dialect: each server puts its answers into its own words."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy_core.testing import FakeUpstream, Script, SeenRequest, chunk
from proxy_plugin_anthropic import testing as anthropic
from proxy_plugin_anthropic.testing import FakeAnthropic
from proxy_plugin_gemini import testing as gemini
from proxy_plugin_gemini.testing import FakeGemini


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model answers: pieces of text, and calls of tools by name with their arguments."""

    text: Sequence[str] = ()
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()


Decide = Callable[[SeenRequest], Reply]


class ChatUpstream(FakeUpstream):
    """OpenAI's chat completions."""

    name, model = "chat", "up/small"

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.decide = decide

    @property
    def providers(self) -> dict[str, Any]:
        return {"up": {"base_url": self.url, "api_keys": ["sk-upstream"]}}

    def _script(self, request: SeenRequest) -> Script:
        if not request.path.endswith("/chat/completions"):
            return super()._script(request)
        reply, number = self.decide(request), len(self.requests)
        if request.json.get("stream"):
            return Script(200, {"content-type": "text/event-stream"}, [*_chunks(reply, number), b"data: [DONE]\n\n"])
        return Script(200, {"content-type": "application/json"}, (json.dumps(_completion(reply, number)).encode(),))


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


def _chunks(reply: Reply, number: int) -> Iterator[bytes]:
    yield chunk({"role": "assistant", "content": ""})
    for piece in reply.text:
        yield chunk({"content": piece})
    for call in _tool_calls(reply, number):
        function, half = call["function"], len(call["function"]["arguments"]) // 2
        begun = {**call, "function": {"name": function["name"], "arguments": function["arguments"][:half]}}
        yield chunk({"tool_calls": [begun]})
        yield chunk({"tool_calls": [{"index": call["index"], "function": {"arguments": function["arguments"][half:]}}]})
    yield chunk({}, finish="tool_calls" if reply.calls else "stop")
    yield chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11})


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
            calls = [gemini.call(name, arguments) for name, arguments in reply.calls]
            self.queued = deque()
            self.answers(*map(gemini.text, reply.text), *calls, gemini.finish())
        return super()._script(request)


class AnthropicUpstream(FakeAnthropic):
    """Anthropic's Messages API."""

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
            calls = [anthropic.call(name, arguments) for name, arguments in reply.calls]
            self.queued = deque()
            self.answers(
                *map(anthropic.text, reply.text), *calls, anthropic.finish("tool_use" if calls else "end_turn")
            )
        return super()._script(request)


UPSTREAMS = {upstream.name: upstream for upstream in (ChatUpstream, AnthropicUpstream, GeminiUpstream)}
