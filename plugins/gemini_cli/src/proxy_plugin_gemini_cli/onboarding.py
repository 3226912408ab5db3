"""Find the project and plan of a Code Assist account; pure functions decide on Google's responses.

::

    loadCodeAssist → decide → Ready, or onboardUser → poll its operation → Ready
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct
from pydantic import SecretStr

from proxy_core import HttpClient, HttpResponse, TransportFailed, UpstreamRequest, json_bytes, load_json, repr_without
from proxy_plugin_gemini import GoogleError, read_google_error
from proxy_plugin_gemini_cli.failures import ADVICE, owner_advice

FREE, LEGACY, STANDARD = "free-tier", "legacy-tier", "standard-tier"
_UNAUTHORIZED = 401
_CLOUD_SHELL = "cloudshell-gca"

#: Advice for each reason why an account is not served; it follows Google's own sentence.
INELIGIBLE: Mapping[str, str] = {
    "DASHER_USER": "a Workspace account needs a Code Assist licence and a project",
    "INELIGIBLE_ACCOUNT": "this account cannot use Gemini Code Assist",
    "NON_USER_ACCOUNT": "this must be a person's account, not a service account",
    "RESTRICTED_AGE": "the owner of this account is too young for the service",
    "RESTRICTED_NETWORK": "the service is not offered on this network",
    "UNKNOWN_LOCATION": "Google could not determine the location of this machine",
    "UNSUPPORTED_LOCATION": "the service is not offered in this location",
    "VALIDATION_REQUIRED": "the account has to be verified first",
    "UNSUPPORTED_CLIENT": (
        "Google has not served accounts without a Code Assist Standard or Enterprise licence since 18 June 2026; "
        "with a licence, set its project (GOOGLE_CLOUD_PROJECT); without one, use the provider gemini with an API key"
    ),
}
NO_PROJECT = (
    "a Google Cloud project is required: set GOOGLE_CLOUD_PROJECT (or GEMINI_CLI_<n>_PROJECT_ID for one credential) "
    "to the id of a project in which the Gemini for Google Cloud API is enabled"
)


class NotServed(Exception):
    """Google does not serve this account in its current state; the message says what would help.

    ``code`` is one of ``validation_required``, ``account_ineligible``, ``project_required``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class AskAgain(Exception):
    """There was no usable response; a later attempt may get one."""


class TokenRejected(AskAgain):
    """The access token is not accepted, whatever its expiry says; an attempt with a new one may get a response."""


class Ready(Struct, frozen=True, kw_only=True):
    """The account is set up."""

    project: str
    tier: str


class Onboard(Struct, frozen=True, kw_only=True):
    """The account must first be set up for a tier, with this project, if any."""

    tier: str
    project: str | None


class Backend(Struct, frozen=True, kw_only=True):
    """The address of Code Assist and the headers of requests to it, which hold no token."""

    __repr__ = repr_without("sleep")

    base: str
    headers: tuple[tuple[str, str], ...] = ()
    poll_s: float = 5.0
    onboard_s: float = 300.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


# --- Decisions: pure ---------------------------------------------------------------------


def metadata(project: str | None) -> dict[str, str]:
    fields = {"ideType": "IDE_UNSPECIFIED", "platform": "PLATFORM_UNSPECIFIED", "pluginType": "GEMINI"}
    return {**fields, "duetProject": project} if project else fields


def load_body(project: str | None) -> dict[str, Any]:
    """The body of ``loadCodeAssist``. Without a project, both project fields are left out."""
    body: dict[str, Any] = {"cloudaicompanionProject": project} if project else {}
    return {**body, "metadata": metadata(project)}


def onboard_body(step: Onboard) -> dict[str, Any]:
    """The body of ``onboardUser``. For the free tier, a project would get a 412, so it is left out."""
    project = None if step.tier == FREE else step.project
    body: dict[str, Any] = {"tierId": step.tier}
    if project:
        body["cloudaicompanionProject"] = project
    return {**body, "metadata": metadata(project)}


def check_project(project: str | None) -> str | None:
    """Return the configured project, if any. Raises ``NotServed`` for a number, because Google requires the id."""
    if project and project.isdecimal():
        raise NotServed(f"the project {project} is a number; set the project's id", code="project_required")
    return project or None


def decide(loaded: Mapping[str, Any], project: str | None) -> Ready | Onboard:
    """Decide what follows from ``loadCodeAssist``'s response. Raises ``NotServed``.

    Source: gemini-cli ``code_assist/setup.ts``.
    """
    current, own = _object(loaded.get("currentTier")), project_id(loaded.get("cloudaicompanionProject"))
    refusals = [_object(tier) for tier in _list(loaded.get("ineligibleTiers"))]
    if not current:
        for tier in refusals:
            if tier.get("reasonCode") == "VALIDATION_REQUIRED" and tier.get("validationUrl"):
                raise NotServed(_validation(tier), code="validation_required")
        return _first_time(loaded, refusals, project)
    found = own or project
    if found is None:
        raise _no_project(refusals)
    return Ready(project=found, tier=effective_tier(loaded))


def _first_time(loaded: Mapping[str, Any], refusals: list[Mapping[str, Any]], project: str | None) -> Onboard:
    if project is None and any(tier.get("reasonCode") == "UNSUPPORTED_CLIENT" for tier in refusals):
        raise NotServed(_reasons(refusals), code="account_ineligible")
    allowed = [_object(tier) for tier in _list(loaded.get("allowedTiers"))]
    chosen = next((tier for tier in allowed if tier.get("isDefault") is True), None)
    tier = _text(chosen.get("id")) if chosen is not None else None
    if tier is None or tier == LEGACY:
        if project is None:
            raise _no_project(refusals)
        return Onboard(tier=LEGACY, project=project)
    if chosen is not None and chosen.get("userDefinedCloudaicompanionProject") is True and project is None:
        raise _no_project(refusals)
    return Onboard(tier=tier, project=project)


def finished(operation: Mapping[str, Any], step: Onboard) -> Ready | None:
    """The result of an operation; ``None`` while it is running. Raises ``NotServed``."""
    if operation.get("done") is not True:
        return None
    error = operation.get("error")
    if error:
        words = _text(_object(error).get("message")) or "no reason was given"
        raise NotServed(f"the account could not be set up: {words}", code="account_ineligible")
    response = _object(operation.get("response"))
    project = project_id(response.get("cloudaicompanionProject")) or step.project
    if project is None:
        raise NotServed(NO_PROJECT, code="project_required")
    return Ready(project=project, tier=step.tier)


def effective_tier(loaded: Mapping[str, Any]) -> str:
    for key in ("paidTier", "currentTier"):
        tier = _text(_object(loaded.get(key)).get("id"))
        if tier:
            return tier
    return STANDARD


def project_id(value: object) -> str | None:
    """The project is a string, or, for some accounts, an object with an ``id``."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return _text(value)


def refused(error: GoogleError, project: str | None) -> Mapping[str, Any]:
    """After ``loadCodeAssist`` failed: a response to continue with, if possible. Raises ``NotServed``, ``AskAgain``."""
    if error.info("SECURITY_POLICY_VIOLATED"):
        return {"currentTier": {"id": STANDARD}}
    if project == _CLOUD_SHELL:
        raise NotServed(f"Cloud Shell's own project cannot be used; {NO_PROJECT}", code="project_required")
    info = error.info(*ADVICE)
    if info is not None:
        code, advice = owner_advice(error, info)
        raise NotServed(_shown(advice), code=code)
    raise AskAgain(
        f"Code Assist answered {error.code or 'something unreadable'}{f': {error.message}' if error.message else ''}"
    )


def _validation(tier: Mapping[str, Any]) -> str:
    words = _text(tier.get("validationErrorMessage")) or _text(tier.get("reasonMessage")) or ""
    url = _shown(str(tier["validationUrl"]))
    return f"{_shown(words) or 'The account has to be verified.'} Open {url}, then log in again"


def _no_project(refusals: list[Mapping[str, Any]]) -> NotServed:
    if refusals:
        return NotServed(_reasons(refusals), code="account_ineligible")
    return NotServed(NO_PROJECT, code="project_required")


def _reasons(refusals: list[Mapping[str, Any]]) -> str:
    messages = [_shown(str(tier.get("reasonMessage") or "")) for tier in refusals]
    advice = dict.fromkeys(INELIGIBLE.get(str(tier.get("reasonCode")), "") for tier in refusals)
    return " ".join([*filter(None, messages), *(f"({words})" for words in advice if words)]) or "no tier is offered"


def _shown(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# --- Requests ----------------------------------------------------------------------------


async def discover(
    exchange: HttpClient, backend: Backend, token: SecretStr, project: str | None, *, onboard: bool = True
) -> Ready:
    """The account's project and tier; sets the account up if necessary. Raises ``NotServed``, ``AskAgain``.

    Without ``onboard``, an account that is not set up raises ``AskAgain``.
    """
    project = check_project(project)
    answer = await _post(exchange, backend, token, "loadCodeAssist", load_body(project))
    if answer.status == _UNAUTHORIZED:
        raise TokenRejected("Code Assist rejected the access token")
    if answer.status >= 400:
        error = read_google_error(answer.body)
        loaded = refused(error, project)
    else:
        loaded = _answered(answer)
        if not loaded:
            raise AskAgain("Code Assist sent an empty response")
    step = decide(loaded, project)
    if isinstance(step, Ready):
        return step
    if not onboard:
        raise AskAgain("the account is not set up yet")
    return await _onboard(exchange, backend, token, step)


async def _onboard(exchange: HttpClient, backend: Backend, token: SecretStr, step: Onboard) -> Ready:
    answer = await _post(exchange, backend, token, "onboardUser", onboard_body(step))
    waited = 0.0
    while True:
        if answer.status >= 400:
            error = read_google_error(answer.body)
            if answer.status == 429 or answer.status >= 500:
                raise AskAgain(f"setting up the account failed with status {answer.status}")
            words = error.message or f"status {answer.status}"
            raise NotServed(f"the account could not be set up: {words}", code="account_ineligible")
        operation = _answered(answer)
        done = finished(operation, step)
        if done is not None:
            return done
        if waited >= backend.onboard_s:
            raise AskAgain(f"the account was not set up within {backend.onboard_s:.0f} seconds")
        await backend.sleep(backend.poll_s)
        waited += backend.poll_s
        name = _text(operation.get("name"))
        if name is None:
            answer = await _post(exchange, backend, token, "onboardUser", onboard_body(step))
        else:
            answer = await _send(exchange, backend, token, f"{backend.base}/{name.lstrip('/')}", "GET", b"")


async def _post(
    exchange: HttpClient, backend: Backend, token: SecretStr, method: str, body: Mapping[str, Any]
) -> HttpResponse:
    return await _send(exchange, backend, token, f"{backend.base}:{method}", "POST", json_bytes(body))


async def _send(
    exchange: HttpClient, backend: Backend, token: SecretStr, url: str, method: str, content: bytes
) -> HttpResponse:
    headers = [("authorization", f"Bearer {token.get_secret_value()}"), ("content-type", "application/json")]
    request = UpstreamRequest(url=url, headers=[*headers, *backend.headers], content=content, method=method)
    try:
        return await exchange(request)
    except TransportFailed as error:
        raise AskAgain(f"Code Assist did not respond ({error})") from error


def _answered(answer: HttpResponse) -> Mapping[str, Any]:
    try:
        value = load_json(answer.body or b"{}")
    except ValueError:
        raise AskAgain("Code Assist's response cannot be read") from None
    return value if isinstance(value, dict) else {}
