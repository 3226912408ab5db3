"""A fake Qwen on a real socket: device page, token endpoint with rotation, chat, models, and errors on demand.

::

    async with FakeQwen() as qwen:
        settings = {"plugins": {"qwen_code": qwen.settings}}
        qwen.keys.add("sk-a")
        qwen.for_key("sk-a").responds(429, ALLOCATION)

Everything that ``FakeOAuthServer`` offers works: ``issue``, ``fails``, ``approve``, ``spent_again``. The fake refuses
what the vendor refuses, and, if ``agents`` is not empty, every other User-Agent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from proxy_core import Tokens
from proxy_core.testing import FakeOAuthServer, Script, SeenRequest
from proxy_core.testing.oauth import CLIENT_ID, Family

DEVICE_PATH, TOKEN_PATH = "/api/v1/oauth2/device/code", "/api/v1/oauth2/token"  # addresses
#: The firewall's page, and the Coding Plan's answer to a program that is not a coding agent.
PAGE = b'<!doctypehtml><html lang="zh-cn"><title>405</title><script>aliyun_waf_aa="x"</script></html>'
NOT_AN_AGENT = {"error": "Coding Plan is currently only available for Coding Agents"}


class FakeQwen(FakeOAuthServer):
    """``keys`` are the API keys it accepts, ``agents`` the prefixes of the User-Agents it serves (empty: all)."""

    PREFIXES = ("at-", "rt-")

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.keys: set[str] = set()
        self.agents: tuple[str, ...] = ()
        self.models = ["coder-model"]
        #: The ``resource_url`` of token responses; ``None``: the fake itself.
        self.resource_url: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """``[plugins.qwen_code]`` for this server."""
        urls = {"device_url": f"{self.base}{DEVICE_PATH}", "token_url": f"{self.base}{TOKEN_PATH}"}
        return {"client_id": CLIENT_ID, **urls}

    def issue(self, identity: str | None = None) -> Tokens:
        return replace(super().issue(identity), details={"resource_url": self.base})

    @property
    def chats(self) -> list[SeenRequest]:
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    def page(self, *, path: str = TOKEN_PATH, status: int = 200, times: int = 1) -> None:
        """Make the firewall's page the next response of a login's path."""
        self.fails(status, PAGE, headers={"content-type": "text/html"}, path=_INNER[path], times=times)

    # --- The server ----------------------------------------------------------------------

    def _script(self, request: SeenRequest) -> Script:
        path, _, query = request.path.partition("?")
        if path in _INNER:
            return super()._script(replace(request, path=_INNER[path] + (f"?{query}" if query else "")))
        if not path.startswith("/v1"):
            return super()._script(request)
        if request.key not in self.keys and self._identity(request) is None:
            return answer(401, error("invalid access token or token expired", "invalid_api_key"))
        if self.agents and not request.headers.get("user-agent", "").startswith(self.agents):
            return answer(405, NOT_AN_AGENT)
        if path.endswith("/models") and "/models" not in self._by_path:
            return answer(200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})
        refusal = _refused(request.json) if request.body else None
        return answer(400, refusal) if refusal else super(FakeOAuthServer, self)._script(request)

    def _give(self, family: Family, *, rotate: bool = False) -> dict[str, Any]:
        given = super()._give(family, rotate=rotate)
        # The vendor's tokens do not say whose they are.
        del given["id_token"]
        return {**given, "resource_url": self.base if self.resource_url is None else self.resource_url}


_INNER: Mapping[str, str] = {DEVICE_PATH: "/device/code", TOKEN_PATH: "/token"}


def _refused(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error if the vendor would answer 400 to this body."""
    if "stream_options" in body and not body.get("stream"):
        return error("stream_options can only be set when stream is true", "invalid_parameter_error")
    if any(message.get("role") == "developer" for message in body.get("messages", ())):
        return error("developer is not one of ['system', 'assistant', 'user', 'tool']", "invalid_parameter_error")
    if body.get("enable_thinking") and not body.get("stream"):
        text = "parameter.enable_thinking must be set to false for non-streaming calls"
        return error(text, "invalid_parameter_error")
    return None


def error(message: str, code: str | int | None = None, kind: str | None = None) -> dict[str, Any]:
    """An error in the form of compatible mode."""
    about = {"message": message, "type": kind or (code if isinstance(code, str) else None), "param": None}
    return {"error": {**about, "code": code}, "request_id": "6f1c"}


def answer(status: int, body: Any) -> Script:
    return Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))
