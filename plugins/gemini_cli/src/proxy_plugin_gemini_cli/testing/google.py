"""A fake Google on a real socket: accounts, tokens, Code Assist and the public API, as strict as the real ones.

::

    async with FakeGoogle() as google:
        account = google.account("dev@example.com", load="licensed")
        tokens = google.issue("dev@example.com")
        google.answers(text("hel"), text("lo"), finish("STOP"))
        google.errs("daily")

``google.settings`` is ``[plugins.gemini_cli]`` for a proxy that uses it, ``google.provider`` ``[providers.gemini]``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from proxy_core.testing.oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuthServer
from proxy_core.testing.upstream import Script, SeenRequest
from proxy_plugin_gemini.testing import ERRORS, FakeGemini, error_script, json_script, refusal

PROJECT = "my-project-123"
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

#: The response of ``loadCodeAssist``, by the state of an account. ``{project}`` is filled in.
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
#: States in which ``loadCodeAssist`` fails, by the name of the error.
REFUSALS = ("vpc_sc", "service_disabled", "subscription_required", "tos_violation", "internal", "html_502")


@dataclass(slots=True)
class Account:
    """One person's account. ``load`` is a key of ``LOADS`` or one of ``REFUSALS``; only ``project`` may be used."""

    identity: str
    load: str = "licensed"
    project: str = PROJECT
    polls: int = 0
    onboard_error: str | None = None
    operation: int | None = None


@dataclass(slots=True)
class Bucket:
    model: str
    fraction: float | None = None
    amount: str | None = None
    resets_at: str | None = None

    def json(self) -> dict[str, Any]:
        named = {"remainingFraction": self.fraction, "remainingAmount": self.amount, "resetTime": self.resets_at}
        return {"modelId": self.model, "tokenType": "REQUESTS", **{k: v for k, v in named.items() if v is not None}}


class FakeGoogle(FakeGemini, FakeOAuthServer):
    """The server. It knows the OAuth client of ``FakeOAuthServer`` and those in ``clients``."""

    PREFIXES = ("ya29.at-", "1//rt-")

    def __init__(self, **oauth: Any) -> None:
        super().__init__(**{"rotates": False, **oauth})
        self.accounts: dict[str, Account] = {}
        self.clients: dict[str, str] = {CLIENT_ID: CLIENT_SECRET}
        #: Refresh tokens that belong to another client.
        self.owners: dict[str, str] = {}
        self.buckets: list[Bucket] = default_buckets()
        self._operations: dict[str, Account] = {}

    # --- For tests -----------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """``[plugins.gemini_cli]`` for a proxy that uses only this fake."""
        return {
            "code_assist_endpoint": self.base,
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

    def revoke_access(self) -> None:
        """Revoke the access tokens issued so far; refresh tokens stay valid."""
        self._access.clear()

    # --- The server ----------------------------------------------------------------------

    def _script(self, request: SeenRequest) -> Script:
        path = request.path.partition("?")[0]
        if path.startswith("/v1internal"):
            queued = self._failures.get(path)
            return queued.popleft()[0] if queued else self._internal(path, request)
        if path == "/tokeninfo":
            identity = self._identity(request)
            return json_script(200, {"email": identity}) if identity else json_script(400, {"error": "invalid_token"})
        return super()._script(request)

    def _token(self, fields: Mapping[str, str]) -> Script:
        client = fields.get("client_id", "")
        if self.clients.get(client) != fields.get("client_secret"):
            return json_script(401, {"error": "invalid_client", "error_description": "The OAuth client was not found."})
        owner = self.owners.get(fields.get("refresh_token", ""), CLIENT_ID if client == CLIENT_ID else client)
        if owner != client:
            return json_script(401, {"error": "unauthorized_client", "error_description": "Unauthorized"})
        return super()._token({**fields, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})

    # --- Code Assist ---

    def _internal(self, path: str, request: SeenRequest) -> Script:
        identity = self._identity(request)
        if identity is None:
            return error_script(ERRORS["unauthenticated"])
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
                return json_script(200, {"buckets": [bucket.json() for bucket in self.buckets]})
            case "countTokens":
                return self._count(body)
            case "generateContent":
                return self._content(account, body, streamed=False, sse=False)
            case "streamGenerateContent":
                return self._content(account, body, streamed=True, sse="alt=sse" in request.path)
            case "listExperiments":
                return json_script(200, {"experimentIds": [], "flags": []})
            case "fetchAdminControls" | "recordCodeAssistMetrics" | "setCodeAssistGlobalUserSetting":
                return json_script(200, {})
            case _:
                return error_script(ERRORS["not_found"])

    def _load(self, account: Account) -> Script:
        if account.load in REFUSALS:
            return error_script(ERRORS[account.load])
        return json_script(200, LOADS[account.load])

    def _onboard(self, account: Account, body: Mapping[str, Any]) -> Script:
        project = body.get("cloudaicompanionProject")
        if body.get("tierId") == "free-tier" and (project or body.get("metadata", {}).get("duetProject")):
            return error_script(ERRORS["precondition"])
        if account.operation is None:
            account.operation = account.polls
        elif account.operation > 0:
            account.operation -= 1
        name = f"operations/onboard.{len(self._operations)}"
        if body.get("tierId") != "free-tier":
            account.project = project or account.project
        self._operations[name] = account
        return self._progress(name, account)

    def _operation(self, name: str) -> Script:
        account = self._operations.get(name)
        if account is None:
            return error_script(ERRORS["not_found"])
        account.operation = max(0, (account.operation or 0) - 1)
        return self._progress(name, account)

    def _progress(self, name: str, account: Account) -> Script:
        if account.operation:
            return json_script(200, {"name": name, "done": False})
        if account.onboard_error is not None:
            return json_script(
                200, {"name": name, "done": True, "error": {"code": 7, "message": account.onboard_error}}
            )
        project = {"id": account.project, "name": account.project, "projectNumber": "123456789012"}
        account.load = "licensed"
        return json_script(200, {"name": name, "done": True, "response": {"cloudaicompanionProject": project}})

    def _count(self, body: Mapping[str, Any]) -> Script:
        request = body.get("request", {})
        if set(body) != {"request"} or not str(request.get("model", "")).startswith("models/"):
            return refusal("countTokens: model belongs in request, with its prefix")
        words = json.dumps(request.get("contents", [])).split()
        return json_script(200, {"totalTokens": len(words)})

    def _content(self, account: Account, body: Any, *, streamed: bool, sse: bool) -> Script:
        known = {"model", "project", "user_prompt_id", "request", "enabled_credit_types"}
        for name in body:
            if name not in known:
                return refusal(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        if not body.get("project"):
            return error_script(ERRORS["internal"])
        if body["project"] != account.project:
            return error_script(ERRORS["consumer_invalid"])
        model = str(body.get("model", ""))
        if model.startswith("models/") or not body.get("user_prompt_id"):
            return refusal("model has a prefix, or user_prompt_id is missing")
        return self.generate(model, body["request"], streamed=streamed, sse=sse, envelope=True)


def default_buckets() -> list[Bucket]:
    soon = (datetime.now(UTC) + timedelta(hours=5)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return [
        Bucket("gemini-2.5-pro", 0.72, "180", soon),
        Bucket("gemini-2.5-flash", 1, None, soon),
        Bucket("gemini-3-pro-preview", None, None, soon),
    ]
