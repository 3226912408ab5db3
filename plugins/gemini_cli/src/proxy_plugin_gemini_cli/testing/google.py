"""A Google on a real socket: accounts, tokens, Code Assist, and the public API, as strict as the real ones.

::

    async with FakeGoogle() as google:
        account = google.account("dev@example.com", load="licensed")
        tokens = google.issue("dev@example.com")
        google.answers(text("hel"), text("lo"), finish("STOP"))
        google.errs("daily")

Settings for a proxy that uses it are ``google.settings``.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from proxy_core.testing.oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuthServer
from proxy_core.testing.upstream import Script, SeenRequest, Step
from proxy_plugin_gemini_cli.testing.checks import Refused, check
from proxy_plugin_gemini_cli.testing.errors import ERRORS, error_body

API_KEY = "AIza-test-key"
PROJECT = "my-project-123"
MODELS = (
    "gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite gemini-3-pro-preview gemini-3.1-pro-preview"
    " gemini-3-flash-preview gemini-3-flash gemini-3.5-flash gemini-3.8-flash gemini-3.1-flash-lite"
    " gemini-3.5-flash-lite gemini-embedding-001"
).split()
_STANDARD = {
    "id": "standard-tier",
    "name": "Gemini Code Assist",
    "userDefinedCloudaicompanionProject": True,
    "isDefault": True,
}
_FREE = {"id": "free-tier", "name": "Gemini Code Assist for individuals", "isDefault": True}
_ENDED = {
    "reasonCode": "UNSUPPORTED_CLIENT",
    "reasonMessage": "This client is no longer supported for individual accounts.",
    "tierId": "free-tier",
    "tierName": "Gemini Code Assist for individuals",
}
_VALIDATE = {
    "reasonCode": "VALIDATION_REQUIRED",
    "reasonMessage": "Verify your account.",
    "tierId": "free-tier",
    "validationUrl": "https://accounts.google.com/verify",
    "validationErrorMessage": "Verify your account to continue.",
}

#: What ``loadCodeAssist`` says, by the state of an account. ``{project}`` is filled in.
LOADS: Mapping[str, Mapping[str, Any]] = {
    "licensed": {
        "currentTier": _STANDARD,
        "allowedTiers": [_STANDARD],
        "cloudaicompanionProject": PROJECT,
        "gcpManaged": False,
    },
    "object_project": {"currentTier": _STANDARD, "cloudaicompanionProject": {"id": PROJECT, "name": PROJECT}},
    "without_project": {"currentTier": _STANDARD},
    "paid": {
        "currentTier": _FREE,
        "paidTier": {"id": "g1-pro-tier", "name": "Google AI Pro", "availableCredits": []},
        "cloudaicompanionProject": "proven-coast-abc12",
    },
    "ended": {
        "ineligibleTiers": [_ENDED],
        "allowedTiers": [{k: v for k, v in _STANDARD.items() if k != "isDefault"}],
    },
    "ineligible": {
        "currentTier": _FREE,
        "ineligibleTiers": [{"reasonCode": "RESTRICTED_AGE", "reasonMessage": "You are too young."}],
    },
    "validation": {"ineligibleTiers": [_VALIDATE], "allowedTiers": [_FREE]},
    "new": {"allowedTiers": [_STANDARD]},
    "new_free": {"allowedTiers": [_FREE]},
    "new_without_default": {"allowedTiers": [{"id": "standard-tier"}]},
    "empty": {},
}
#: States in which ``loadCodeAssist`` is refused, by the name of the error.
REFUSALS = ("vpc_sc", "service_disabled", "subscription_required", "tos_violation", "internal", "html_502")


@dataclass(slots=True)
class Account:
    """One person's: ``load`` is a key of ``LOADS`` or one of ``REFUSALS``. ``project`` is what may be asked for."""

    identity: str
    load: str = "licensed"
    project: str = PROJECT
    polls: int = 0
    onboard_error: str | None = None
    operation: int | None = None


@dataclass(slots=True)
class _Reply:
    steps: Sequence[Mapping[str, Any] | Step] = ()
    error: tuple[int, bytes] | None = None
    raw: bool = False


@dataclass(slots=True)
class Bucket:
    model: str
    fraction: float | None = None
    amount: str | None = None
    resets_at: str | None = None

    def json(self) -> dict[str, Any]:
        named = {"remainingFraction": self.fraction, "remainingAmount": self.amount, "resetTime": self.resets_at}
        return {"modelId": self.model, "tokenType": "REQUESTS", **{k: v for k, v in named.items() if v is not None}}


# --- What a model says -------------------------------------------------------------------


def text(words: str, *, thought: bool = False, signature: str | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"text": words}
    if thought:
        part["thought"] = True
    if signature is not None:
        part["thoughtSignature"] = signature
    return {"parts": [part]}


def call(name: str, args: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A function call; ``signed=False`` leaves its signature out, ``id=...`` gives it an id."""
    body: dict[str, Any] = {"name": name}
    if "id" in more:
        body["id"] = more["id"]
    if args is not None:
        body["args"] = dict(args)
    part: dict[str, Any] = {"functionCall": body}
    if more.get("signed", True):
        part["thoughtSignature"] = base64.b64encode(secrets.token_bytes(24)).decode()
    return {"parts": [part]}


def finish(reason: str = "STOP", **usage: int) -> dict[str, Any]:
    return {"finishReason": reason, "usage": usage}


def raw(**response: Any) -> dict[str, Any]:
    """A response object as it is."""
    return {"raw": response}


class FakeGoogle(FakeOAuthServer):
    """The server. Clients are those of ``FakeOAuthServer`` and what ``clients`` adds."""

    def __init__(self, **oauth: Any) -> None:
        super().__init__(**{"rotates": False, **oauth})
        self.accounts: dict[str, Account] = {}
        self.clients: dict[str, str] = {CLIENT_ID: CLIENT_SECRET}
        #: Refresh tokens that are another client's.
        self.owners: dict[str, str] = {}
        self.api_keys = {API_KEY}
        self.buckets: list[Bucket] = default_buckets()
        self.signatures: set[str] = set()
        self.said: deque[_Reply] = deque()
        self.checks = True
        self._operations: dict[str, Account] = {}

    # --- What tests say ------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """``[plugins.gemini_cli]`` for a proxy that uses this Google, and no other."""
        return {
            "code_assist_endpoint": self.base,
            "gemini_api_base": f"{self.base}/v1beta",
            "authorize_url": f"{self.base}/authorize",
            "code_page_url": f"{self.base}/authcode",
            "token_url": self.token_url,
            "userinfo_url": f"{self.base}/userinfo",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "installed_cli": False,
            "onboard_poll_s": 0.01,
        }

    def account(self, identity: str | None = None, **fields: Any) -> Account:
        name = identity or self.identity
        made = self.accounts[name] = Account(name, **fields)
        return made

    def answers(self, *steps: Mapping[str, Any] | Step) -> None:
        """The next reply: parts as ``text``, ``call`` and ``finish`` make them, or bytes, pauses, cuts."""
        self.said.append(_Reply(steps))

    def errs(self, name: str, *, times: int = 1) -> None:
        """The next requests for content get this error."""
        self.said.extend([_Reply(error=ERRORS[name])] * times)

    def revoke_access(self) -> None:
        """Access tokens given so far end now; refresh tokens stay good."""
        self._access.clear()

    def called(self, method: str) -> list[SeenRequest]:
        """Requests whose path has this method."""
        return [request for request in self.requests if method in request.path]

    # --- The server ----------------------------------------------------------------------

    def _script(self, request: SeenRequest) -> Script:
        path = request.path.partition("?")[0]
        if path.startswith("/v1internal"):
            queued = self._failures.get(path)
            return queued.popleft()[0] if queued else self._internal(path, request)
        if path.startswith("/v1beta"):
            return self._public(path, request)
        if path == "/tokeninfo":
            identity = self._identity(request)
            return _json(200, {"email": identity}) if identity else _json(400, {"error": "invalid_token"})
        return super()._script(request)

    def _token(self, fields: Mapping[str, str]) -> Script:
        client = fields.get("client_id", "")
        if self.clients.get(client) != fields.get("client_secret"):
            return _json(401, {"error": "invalid_client", "error_description": "The OAuth client was not found."})
        owner = self.owners.get(fields.get("refresh_token", ""), CLIENT_ID if client == CLIENT_ID else client)
        if owner != client:
            return _json(401, {"error": "unauthorized_client", "error_description": "Unauthorized"})
        return super()._token({**fields, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})

    # --- Code Assist ---

    def _internal(self, path: str, request: SeenRequest) -> Script:
        identity = self._identity(request)
        if identity is None:
            return Script(*_with(ERRORS["unauthenticated"]))
        account = self.accounts.setdefault(identity, Account(identity))
        if path.startswith("/v1internal/operations/"):
            return self._operation(path.removeprefix("/v1internal/"))
        body = request.json
        match path.partition(":")[2]:
            case "loadCodeAssist":
                return self._load(account)
            case "onboardUser":
                return self._onboard(account, body)
            case "retrieveUserQuota":
                return _json(200, {"buckets": [bucket.json() for bucket in self.buckets]})
            case "countTokens":
                return self._count(body)
            case "generateContent":
                return self._content(account, body, streamed=False, sse=False)
            case "streamGenerateContent":
                return self._content(account, body, streamed=True, sse="alt=sse" in request.path)
            case "listExperiments":
                return _json(200, {"experimentIds": [], "flags": []})
            case "fetchAdminControls" | "recordCodeAssistMetrics" | "setCodeAssistGlobalUserSetting":
                return _json(200, {})
            case _:
                return Script(*_with(ERRORS["not_found"]))

    def _load(self, account: Account) -> Script:
        if account.load in REFUSALS:
            return Script(*_with(ERRORS[account.load]))
        return _json(200, LOADS[account.load])

    def _onboard(self, account: Account, body: Mapping[str, Any]) -> Script:
        project = body.get("cloudaicompanionProject")
        if body.get("tierId") == "free-tier" and (project or body.get("metadata", {}).get("duetProject")):
            return Script(*_with(ERRORS["precondition"]))
        if account.operation is None:
            account.operation = account.polls
        elif account.operation > 0:
            account.operation -= 1
        name = f"operations/onboard.{len(self._operations)}"
        if body.get("tierId") != "free-tier":
            account.project = project or account.project
        self._operations[name] = account
        return self._told(name, account)

    def _operation(self, name: str) -> Script:
        account = self._operations.get(name)
        if account is None:
            return Script(*_with(ERRORS["not_found"]))
        account.operation = max(0, (account.operation or 0) - 1)
        return self._told(name, account)

    def _told(self, name: str, account: Account) -> Script:
        if account.operation:
            return _json(200, {"name": name, "done": False})
        if account.onboard_error is not None:
            return _json(200, {"name": name, "done": True, "error": {"code": 7, "message": account.onboard_error}})
        project = {"id": account.project, "name": account.project, "projectNumber": "123456789012"}
        account.load = "licensed"
        return _json(200, {"name": name, "done": True, "response": {"cloudaicompanionProject": project}})

    def _count(self, body: Mapping[str, Any]) -> Script:
        request = body.get("request", {})
        if set(body) != {"request"} or not str(request.get("model", "")).startswith("models/"):
            return _refuse("countTokens: model belongs into request, with its prefix")
        words = json.dumps(request.get("contents", [])).split()
        return _json(200, {"totalTokens": len(words)})

    def _content(self, account: Account, body: Any, *, streamed: bool, sse: bool) -> Script:
        known = {"model", "project", "user_prompt_id", "request", "enabled_credit_types"}
        for name in body:
            if name not in known:
                return _refuse(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        if not body.get("project"):
            return Script(*_with(ERRORS["internal"]))
        if body["project"] != account.project:
            return Script(*_with(ERRORS["consumer_invalid"]))
        model = str(body.get("model", ""))
        if model.startswith("models/") or not body.get("user_prompt_id"):
            return _refuse("model has a prefix, or user_prompt_id is missing")
        return self._generate(model, body["request"], streamed=streamed, sse=sse, envelope=True)

    # --- The public API ---

    def _public(self, path: str, request: SeenRequest) -> Script:
        if request.headers.get("x-goog-api-key") not in self.api_keys:
            return Script(*_with(ERRORS["bad_key"]))
        where = path.removeprefix("/v1beta/")
        if request.method == "GET":
            return self._models(where, request)
        model, _, method = where.removeprefix("models/").partition(":")
        body = request.json
        match method:
            case "generateContent":
                return self._generate(model, body, streamed=False, sse=False, envelope=False)
            case "streamGenerateContent":
                return self._generate(model, body, streamed=True, sse="alt=sse" in request.path, envelope=False)
            case "countTokens":
                return _json(200, {"totalTokens": len(json.dumps(body).split())})
            case "embedContent":
                return _json(200, {"embedding": {"values": _vector(body)}})
            case "batchEmbedContents":
                if any(one.get("model") != f"models/{model}" for one in body["requests"]):
                    return _refuse("model must be repeated in each request")
                return _json(200, {"embeddings": [{"values": _vector(one)} for one in body["requests"]]})
            case _:
                return Script(*_with(ERRORS["not_found"]))

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
            return _json(200, {"models": listed})
        found = next((model for model in listed if model["name"] == where), None)
        return _json(200, found) if found else Script(*_with(ERRORS["not_found"]))

    # --- Content ---

    def _generate(self, model: str, request: Any, *, streamed: bool, sse: bool, envelope: bool) -> Script:
        if model not in MODELS:
            return Script(*_with(ERRORS["not_found"]))
        if self.checks:
            try:
                check(request, model, self.signatures, public=not envelope)
            except Refused as refused:
                return _refuse(str(refused))
        reply = self.said.popleft() if self.said else _Reply(self._default(request))
        if reply.error is not None:
            return Script(*_with(reply.error))
        return self._say(reply.steps, streamed=streamed, sse=sse, envelope=envelope, model=model)

    def _default(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Calls the first function when a person asked; else says hello."""
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
            return _json(200, _wrapped(whole, envelope))
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
    """A plain reply of what would have been streamed."""
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


def default_buckets() -> list[Bucket]:
    soon = (datetime.now(UTC) + timedelta(hours=5)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return [
        Bucket("gemini-2.5-pro", 0.72, "180", soon),
        Bucket("gemini-2.5-flash", 1, None, soon),
        Bucket("gemini-3-pro-preview", None, None, soon),
    ]


def _json(status: int, body: Any) -> Script:
    return Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))


def _with(error: tuple[int, bytes]) -> tuple[int, Mapping[str, str], Sequence[Step]]:
    return error[0], {"content-type": "application/json"}, (error[1],)


def _refuse(message: str) -> Script:
    return Script(*_with((400, error_body(400, "INVALID_ARGUMENT", message))))
