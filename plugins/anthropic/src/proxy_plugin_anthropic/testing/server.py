"""Anthropic's API on a real socket, as strict as the real one.

::

    async with FakeAnthropic() as anthropic:
        anthropic.answers(thinking("Hm"), text("hel"), text("lo"), finish())
        anthropic.errs("overloaded")

``anthropic.provider`` is ``[providers.anthropic]`` for a proxy that uses it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from proxy_core.testing.steps import Step
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest
from proxy_plugin_anthropic.testing.checks import Model, check
from proxy_plugin_anthropic.testing.errors import ERRORS, Error
from proxy_plugin_anthropic.testing.message import plain, stream
from proxy_plugin_anthropic.testing.says import call, finish, text, thinking
from proxy_plugin_anthropic.testing.words import Refused

API_KEY = "sk-ant-test-key"
_NEWEST = Model(most=128_000, budgets=False, adaptive=True, sampling=False)
MODELS: Mapping[str, Model] = {
    "claude-opus-4-8": _NEWEST,
    "claude-sonnet-5": _NEWEST,
    "claude-sonnet-4-6": Model(adaptive=True),
    "claude-sonnet-4-5": Model(),
    "claude-haiku-4-5": Model(),
    "claude-3-haiku-20240307": Model(most=4096, budgets=False),
}


class _Response(Struct):
    steps: Sequence[Mapping[str, Any] | Step] = ()
    error: Error | None = None


class FakeAnthropic(FakeUpstream):
    """The server. ``checks``: refuse requests that the API would refuse, with its message."""

    def __init__(self) -> None:
        super().__init__()
        self.api_keys = {API_KEY}
        #: The thoughts sent so far, with their signatures; those without words are redacted.
        self.signed: set[tuple[str, str]] = set()
        self.queued: deque[_Response] = deque()
        self.checks = True
        #: Headers of every response, such as rate limits.
        self.more_headers: dict[str, str] = {}
        #: How many models a page of the list has at most.
        self.page_size = 1000

    # --- For tests -----------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self.url.removesuffix("/v1")

    @property
    def provider(self) -> dict[str, Any]:
        """``[providers.anthropic]`` for a proxy that uses only this server."""
        return {"base_url": self.address, "api_keys": [API_KEY]}

    @property
    def asked(self) -> list[SeenRequest]:
        """The requests for messages."""
        return [request for request in self.requests if request.path.partition("?")[0] == "/v1/messages"]

    def answers(self, *steps: Mapping[str, Any] | Step) -> None:
        """The next response: steps made by ``text``, ``thinking``, ``call`` and ``finish``, or bytes, pauses, cuts."""
        self.queued.append(_Response(steps))

    def errs(self, name: str, *, times: int = 1) -> None:
        """Answer the next requests for messages with one of ``ERRORS``."""
        self.queued.extend([_Response(error=ERRORS[name])] * times)

    # --- The API -------------------------------------------------------------------------

    def _script(self, request: SeenRequest) -> Script:
        path = request.path.partition("?")[0]
        if not {request.key, request.headers.get("x-api-key")} & self.api_keys:
            return error_script(ERRORS["bad_key"])
        if "anthropic-version" not in request.headers:
            return refusal("anthropic-version: header is required")
        if request.method == "GET" and path.startswith("/v1/models"):
            return self._models(path.removeprefix("/v1/models").strip("/"), request)
        if path == "/v1/messages":
            return self._messages(request)
        if path == "/v1/messages/count_tokens":
            return self._count(request.json)
        return error_script(Error(404, "not_found_error", "Not found"))

    def _messages(self, request: SeenRequest) -> Script:
        body = request.json
        refused = self._refuses(body, request.headers.get("anthropic-beta", ""))
        if refused is not None:
            return refused
        response = self.queued.popleft() if self.queued else _Response(_default(body))
        if response.error is not None:
            return error_script(response.error)
        for step in response.steps:
            if isinstance(step, Mapping) and "block" in step:
                self._sign(step["block"])
        if body.get("stream"):
            headers = {"content-type": "text/event-stream; charset=utf-8", **self._headers()}
            return Script(200, headers, list(stream(response.steps, body["model"], self._id())))
        steps = [step for step in response.steps if isinstance(step, Mapping)]
        failed = next((step["error"] for step in steps if "error" in step), None)
        if failed is not None:
            return error_script(Error(529, failed["type"], failed["message"]))
        return Script(
            200,
            {"content-type": "application/json", **self._headers()},
            (json.dumps(plain(steps, body["model"], self._id())).encode(),),
        )

    def _refuses(self, body: Any, betas: str = "") -> Script | None:
        if not isinstance(body, dict) or body.get("model") not in MODELS:
            model = body.get("model") if isinstance(body, dict) else None
            return error_script(Error(404, "not_found_error", f"model: {model}"))
        if self.checks:
            try:
                check(body, MODELS[body["model"]], self.signed, betas=betas)
            except Refused as refused:
                return refusal(str(refused))
        return None

    def _count(self, body: Any) -> Script:
        if {"max_tokens", "stream", "temperature", "metadata"} & body.keys():
            return refusal("max_tokens: Extra inputs are not permitted")
        most = MODELS[body["model"]].most if body.get("model") in MODELS else 1
        return self._refuses({**body, "max_tokens": most}) or json_script(
            200, {"input_tokens": len(json.dumps(body).split())}
        )

    def _models(self, one: str, request: SeenRequest) -> Script:
        listed = [_entry(name, model) for name, model in MODELS.items()]
        if one:
            found = next((entry for entry in listed if entry["id"] == one), None)
            return json_script(200, found) if found else error_script(ERRORS["no_model"])
        query = dict(parse_qsl(request.path.partition("?")[2]))
        begin = next((n + 1 for n, e in enumerate(listed) if e["id"] == query.get("after_id")), 0)
        page = listed[begin : begin + min(self.page_size, int(query.get("limit", 20)))]
        more = begin + len(page) < len(listed)
        return json_script(200, {"data": page, "has_more": more, "first_id": page[0]["id"], "last_id": page[-1]["id"]})

    def _headers(self) -> dict[str, str]:
        return {"request-id": f"req_{len(self.requests)}", **self.more_headers}

    def _id(self) -> str:
        return f"msg_{len(self.requests)}"

    def _sign(self, block: Mapping[str, Any]) -> None:
        if block["type"] == "thinking":
            self.signed.add((block["thinking"], block["signature"]))
        elif block["type"] == "redacted_thinking":
            self.signed.add(("", block["data"]))


def _default(request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Call the first tool if the last message is the user's own; otherwise say hello."""
    last = request["messages"][-1]["content"]
    asked = isinstance(last, str) or not any(block["type"] == "tool_result" for block in last)
    tools = [tool["name"] for tool in request.get("tools", ()) if "input_schema" in tool]
    choice = request.get("tool_choice", {})
    before = [thinking("Let me see")] if request.get("thinking", {}).get("type") in ("enabled", "adaptive") else []
    if tools and asked and choice.get("type") != "none":
        return [*before, call(choice.get("name", tools[0]), {"city": "Oslo"}), finish("tool_use")]
    return [*before, text("hel"), text("lo"), finish()]


def _entry(name: str, model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.title(),
        "created_at": "2026-01-01T00:00:00Z",
        "max_input_tokens": 200_000,
        "max_tokens": model.most,
        "lifecycle": "active",
    }


def json_script(status: int, body: Any) -> Script:
    return Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))


def error_script(error: Error) -> Script:
    headers = {"content-type": "application/json", "request-id": "req_scripted", **error.headers}
    return Script(error.status, headers, (error.body,))


def refusal(message: str) -> Script:
    return error_script(Error(400, "invalid_request_error", message))
