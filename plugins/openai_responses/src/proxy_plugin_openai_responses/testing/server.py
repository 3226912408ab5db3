"""OpenAI's Responses API on a real socket, as strict as the real one. Its other paths are those of ``FakeUpstream``.

::

    async with FakeResponses() as server:
        server.answers(reasoning("Hm", encrypted="e1"), call("weather", '{"city":', '"Oslo"}'), end())
        server.errs(429, "rate_limit_exceeded", "Try again in 2s.")

``server.provider`` is ``[providers.<name>]`` for a proxy that uses it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core.testing.steps import Step
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest
from proxy_plugin_openai_responses.testing.checks import Refused, check
from proxy_plugin_openai_responses.testing.says import call, end, reasoning, text
from proxy_plugin_openai_responses.testing.stream import Answer

API_KEY = "sk-test-responses-key"
#: What a request for a count may have.
COUNTED = frozenset(
    (
        "model input instructions tools tool_choice parallel_tool_calls reasoning text truncation conversation"
        " previous_response_id personality"
    ).split()
)


class FakeResponses(FakeUpstream):
    """The server. ``checks``: refuse what OpenAI would refuse. ``encrypted``: the reasoning that it can read."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = True
        self.encrypted: set[str] = set()
        self.queued: deque[Sequence[Mapping[str, Any] | Step] | Script] = deque()
        #: The bodies of its responses.
        self.said: list[bytes] = []

    @property
    def provider(self) -> dict[str, Any]:
        """``[providers.<name>]`` for a proxy whose provider has only this format."""
        return {"base_url": self.url, "api_keys": [API_KEY], "dialects": ["openai_responses"], "models": ["gpt"]}

    def answers(self, *steps: Mapping[str, Any] | Step) -> None:
        """Set the next response: steps made by ``text``, ``call``, ``end`` and others, or bytes, pauses, cuts."""
        self.queued.append(steps)

    def errs(self, status: int, code: str | None, message: str = "No.", **headers: str) -> None:
        """Refuse the next request. ``retry_after="2"`` is a header."""
        error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        self.queued.append(_json(status, error, {name.replace("_", "-"): value for name, value in headers.items()}))

    @property
    def asked(self) -> list[SeenRequest]:
        """The requests for responses."""
        return [request for request in self.requests if request.path.partition("?")[0] == "/v1/responses"]

    def _script(self, request: SeenRequest) -> Script:
        counts = request.path == "/v1/responses/input_tokens"
        if request.method != "POST" or not (counts or request in self.asked):
            return super()._script(request)
        if request.key != API_KEY:
            return _refusal(401, "Incorrect API key provided.", None, "invalid_api_key")
        if counts:
            return self._count(request.json)
        body = request.json
        if self.checks:
            try:
                check(body, self.encrypted)
            except Refused as refused:
                return _refusal(400, str(refused), refused.param, None)
        steps = self.queued.popleft() if self.queued else _default(body)
        if isinstance(steps, Script):
            return steps
        self.encrypted |= {str(s["encrypted"]) for s in steps if isinstance(s, Mapping) and s.get("encrypted")}
        answer = Answer(steps, f"{body['model']}-2026-01-01", len(self.requests))
        kind = "text/event-stream" if body.get("stream") else "application/json"
        out = answer.stream() if body.get("stream") else [json.dumps(answer.whole()).encode()]
        self.said.append(b"".join(step for step in out if isinstance(step, bytes)))
        return Script(200, {"content-type": kind}, out)

    def _count(self, body: Mapping[str, Any]) -> Script:
        """The number of bytes of the input."""
        unknown = next((name for name in body if name not in COUNTED), None)
        if unknown is not None:
            return _refusal(400, f"Unknown parameter: '{unknown}'.", unknown, "unknown_parameter")
        return _json(200, {"object": "response.input_tokens", "input_tokens": len(json.dumps(body["input"]))}, {})


def _default(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Call the first function if the last item is a message; otherwise say hello."""
    functions = [tool for tool in body.get("tools", ()) if tool.get("type") == "function"]
    last = body["input"][-1] if isinstance(body["input"], list) else {}
    if functions and last.get("type", "message") == "message" and body.get("tool_choice") != "none":
        return [reasoning("Let me ", "see"), call(functions[0]["name"], '{"city":', '"Oslo"}'), end()]
    return [text("hel", "lo"), end()]


def _json(status: int, body: Any, headers: Mapping[str, str]) -> Script:
    return Script(status, {"content-type": "application/json", **headers}, (json.dumps(body).encode(),))


def _refusal(status: int, message: str, param: str | None, code: str | None) -> Script:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return _json(status, {"error": error}, {})
