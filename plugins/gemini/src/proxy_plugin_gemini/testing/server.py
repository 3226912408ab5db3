"""Google's public API on a real socket, as strict as the real one.

::

    async with FakeGemini() as gemini:
        gemini.answers(text("hel"), text("lo"), finish("STOP"))
        gemini.errs("daily")

``gemini.provider`` is ``[providers.gemini]`` for a proxy that uses it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from proxy_core.testing.steps import Step
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest
from proxy_plugin_gemini.testing.checks import Refused, check
from proxy_plugin_gemini.testing.errors import ERRORS, error_body
from proxy_plugin_gemini.testing.says import call, finish, text

API_KEY = "AIza-test-key"
MODELS = (
    "gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite gemini-3-pro-preview gemini-3.1-pro-preview"
    " gemini-3-flash-preview gemini-3-flash gemini-3.5-flash gemini-3.8-flash gemini-3.1-flash-lite"
    " gemini-3.5-flash-lite gemini-embedding-001"
).split()


@dataclass(slots=True)
class _Response:
    steps: Sequence[Mapping[str, Any] | Step] = ()
    error: tuple[int, bytes] | None = None
    raw: bool = False


class FakeGemini(FakeUpstream):
    """The server. ``checks``: refuse requests that Google would refuse, with Google's message."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.api_keys = {API_KEY}
        self.signatures: set[str] = set()
        self.queued: deque[_Response] = deque()
        self.checks = True
        #: How many models a page of the list has, whatever the request asks for.
        self.page_size = 1000

    # --- For tests -----------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self.url.removesuffix("/v1")

    @property
    def provider(self) -> dict[str, Any]:
        """``[providers.gemini]`` for a proxy that uses only this server."""
        return {"base_url": f"{self.address}/v1beta", "api_keys": [API_KEY]}

    def answers(self, *steps: Mapping[str, Any] | Step) -> None:
        """Set the next response: steps made by ``text``, ``call`` and ``finish``, or bytes, pauses, cuts."""
        self.queued.append(_Response(steps))

    def errs(self, name: str, *, times: int = 1) -> None:
        """Answer the next requests for content with this error."""
        self.queued.extend([_Response(error=ERRORS[name])] * times)

    def called(self, method: str) -> list[SeenRequest]:
        """The requests whose path contains this method."""
        return [request for request in self.requests if method in request.path]

    # --- The public API ------------------------------------------------------------------

    def _script(self, request: SeenRequest) -> Script:
        path = request.path.partition("?")[0]
        return self._public(path, request) if path.startswith("/v1beta") else super()._script(request)

    def _public(self, path: str, request: SeenRequest) -> Script:
        if request.headers.get("x-goog-api-key") not in self.api_keys:
            return error_script(ERRORS["bad_key"])
        where = path.removeprefix("/v1beta/")
        if request.method == "GET":
            return self._models(where, request)
        model, _, method = where.removeprefix("models/").partition(":")
        body = request.json
        match method:
            case "generateContent":
                return self.generate(model, body, streamed=False, sse=False, envelope=False)
            case "streamGenerateContent":
                return self.generate(model, body, streamed=True, sse="alt=sse" in request.path, envelope=False)
            case "countTokens":
                return json_script(200, {"totalTokens": len(json.dumps(body).split())})
            case "embedContent":
                return json_script(200, {"embedding": {"values": _vector(body)}})
            case "batchEmbedContents":
                if any(one.get("model") != f"models/{model}" for one in body["requests"]):
                    return refusal("model must be repeated in each request")
                return json_script(200, {"embeddings": [{"values": _vector(one)} for one in body["requests"]]})
            case _:
                return error_script(ERRORS["not_found"])

    def _models(self, where: str, request: SeenRequest) -> Script:
        listed = [
            {
                "name": f"models/{name}",
                "displayName": name,
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["embedContent"] if "embedding" in name else ["generateContent"],
                "thinking": True,
            }
            for name in MODELS
        ]
        listed.append({"name": "models/aqa", "supportedGenerationMethods": ["generateAnswer"]})
        if where == "models":
            query = dict(parse_qsl(request.path.partition("?")[2]))
            begin = int(query.get("pageToken", "page+0").removeprefix("page+"))
            end = begin + min(self.page_size, int(query.get("pageSize", 50)))
            more = {"nextPageToken": f"page+{end}"} if end < len(listed) else {}
            return json_script(200, {"models": listed[begin:end], **more})
        found = next((model for model in listed if model["name"] == where), None)
        return json_script(200, found) if found else error_script(ERRORS["not_found"])

    # --- Content -------------------------------------------------------------------------

    def generate(self, model: str, request: Any, *, streamed: bool, sse: bool, envelope: bool) -> Script:
        if model not in MODELS:
            return error_script(ERRORS["not_found"])
        if self.checks:
            try:
                check(request, model, self.signatures, public=not envelope)
            except Refused as refused:
                return refusal(str(refused))
        response = self.queued.popleft() if self.queued else _Response(self._default(request))
        if response.error is not None:
            return error_script(response.error)
        return self._say(response.steps, streamed=streamed, sse=sse, envelope=envelope, model=model)

    def _default(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Call the first function if the last turn has text; otherwise say hello."""
        tools = [d for tool in request.get("tools", ()) for d in tool.get("functionDeclarations", ())]
        asked = any("text" in part for part in request["contents"][-1]["parts"])
        mode = request.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode")
        if tools and asked and mode != "NONE":
            return [text("Let me see", thought=True), call(tools[0]["name"], {"city": "Oslo"}), finish()]
        return [text("hel"), text("lo"), finish()]

    def _say(
        self, steps: Sequence[Mapping[str, Any] | Step], *, streamed: bool, sse: bool, envelope: bool, model: str
    ) -> Script:
        events: list[Step | dict[str, Any]] = []
        usage = {"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 20, "totalTokenCount": 31}
        for step in steps:
            if not isinstance(step, Mapping):
                events.append(step)
                continue
            events.append(self._response(step, usage, model))
        if not streamed:
            whole = _merged([event for event in events if isinstance(event, dict)])
            return json_script(200, _wrapped(whole, envelope))
        if not sse:
            body = [_wrapped(event, envelope) for event in events if isinstance(event, dict)]
            return Script(200, {"content-type": "application/json"}, (json.dumps(body, indent=1).encode(),))
        out: list[Step] = [
            b"data: " + json.dumps(_wrapped(event, envelope)).encode() + b"\r\n\r\n"
            if isinstance(event, dict)
            else event
            for event in events
        ]
        return Script(200, {"content-type": "text/event-stream"}, out)

    def _response(self, step: Mapping[str, Any], usage: Mapping[str, int], model: str) -> dict[str, Any]:
        if "raw" in step:
            return dict(step["raw"])
        candidate: dict[str, Any] = {"index": 0}
        if "parts" in step:
            candidate["content"] = {"role": "model", "parts": step["parts"]}
            self.signatures.update(p["thoughtSignature"] for p in step["parts"] if "thoughtSignature" in p)
        response: dict[str, Any] = {
            "candidates": [candidate],
            "modelVersion": model,
            "responseId": f"r{len(self.requests)}",
        }
        if "finishReason" in step:
            candidate["finishReason"] = step["finishReason"]
            response["usageMetadata"] = {**usage, **step.get("usage", {})}
        return response


def _merged(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole response with the content of a stream."""
    out: dict[str, Any] = {}
    parts: list[Any] = []
    candidate: dict[str, Any] = {}
    for event in events:
        out |= event
        for found in event.get("candidates", ()):
            candidate |= {k: v for k, v in found.items() if k != "content"}
            parts += found.get("content", {}).get("parts", ())
    if candidate:
        content = {"content": {"role": "model", "parts": parts}} if parts else {}
        out["candidates"] = [{**content, **candidate}]
    return out


def _wrapped(event: Mapping[str, Any], envelope: bool) -> Mapping[str, Any]:
    return {"response": event, "traceId": "t1"} if envelope and "error" not in event else event


def _vector(body: Mapping[str, Any]) -> list[float]:
    words = body["content"]["parts"][0]["text"]
    return [float(len(words))] + [0.0] * (body.get("outputDimensionality", 3) - 1)


def json_script(status: int, body: Any) -> Script:
    return Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))


def error_script(error: tuple[int, bytes]) -> Script:
    """One of ``ERRORS``."""
    return Script(error[0], {"content-type": "application/json"}, (error[1],))


def refusal(message: str) -> Script:
    return error_script((400, error_body(400, "INVALID_ARGUMENT", message)))
