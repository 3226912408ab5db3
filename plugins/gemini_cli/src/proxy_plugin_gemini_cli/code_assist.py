"""The provider ``gemini_cli``: Google's Code Assist backend, which wraps Gemini's requests and responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from time import monotonic
from uuid import UUID, uuid4

from msgspec.structs import replace

from proxy_core import (
    CapacityExhausted,
    Credential,
    CredentialRefused,
    FailureDecision,
    FetchLimits,
    HttpClient,
    InlineData,
    JsonObject,
    Provider,
    ProviderCall,
    ProviderSettings,
    QuotaWindow,
    Text,
    UpstreamCount,
    UpstreamFailure,
    UpstreamRequest,
    json_bytes,
)
from proxy_plugin_gemini import SignatureCache, chat_of, decoder_with, parse_count, read_google_error, request_of
from proxy_plugin_gemini_cli.failures import classify_failure
from proxy_plugin_gemini_cli.models import (
    CODE_ASSIST_MODELS,
    LIFECYCLE,
    PAID,
    ROTATION,
    SUBSTITUTES,
    backend_name,
    spec,
)
from proxy_plugin_gemini_cli.oauth import KIND
from proxy_plugin_gemini_cli.onboarding import Backend
from proxy_plugin_gemini_cli.quota import ask_quota
from proxy_plugin_gemini_cli.settings import GeminiCliSettings

NAME = "gemini_cli"
#: The categories of harm, each with its least strict threshold.
SAFETY_OFF: Sequence[Mapping[str, str]] = tuple(
    {"category": f"HARM_CATEGORY_{name}", "threshold": "BLOCK_NONE" if name == "CIVIC_INTEGRITY" else "OFF"}
    for name in ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY")
)
#: How long a model counts as out of capacity, as in Google's client.
_NO_CAPACITY_S = 30.0
_MODEL = re.compile(r"for model (gemini-[\w.-]{1,60})")


def backend_of(settings: GeminiCliSettings, provider: ProviderSettings | None = None) -> Backend:
    """``[providers.gemini_cli]`` may set the whole base URL, including the version, and additional headers."""
    provider = provider or ProviderSettings()
    own = tuple((name, value.get_secret_value()) for name, value in provider.headers.items())
    return Backend(
        base=str(provider.base_url).rstrip("/") if provider.base_url else settings.code_assist,
        headers=(*identity_headers(settings), *own),
        poll_s=settings.onboard_poll_s,
        onboard_s=settings.onboard_s,
    )


def identity_headers(settings: GeminiCliSettings) -> tuple[tuple[str, str], ...]:
    """A User-Agent from the settings. The proxy never poses as Google's client: the backend does not require it."""
    return (("user-agent", settings.user_agent),) if settings.user_agent else ()


class CodeAssist:
    """The provider's functions and state. ``clock`` returns monotonic seconds."""

    def __init__(
        self,
        settings: GeminiCliSettings,
        backend: Backend,
        signatures: SignatureCache,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._signatures = signatures
        self._clock = clock
        #: Until when a model has no capacity.
        self._no_capacity_until: dict[str, float] = {}

    def provider(self) -> Provider:
        listed = {model.id: model for model in CODE_ASSIST_MODELS}
        listed |= {name: spec(name) for name in self._settings.models}
        return Provider(
            name=NAME,
            encode=self.encode,
            decoder=decoder_with(self._signatures),
            classify_failure=self.classify_failure,
            count_tokens=UpstreamCount(request=self.count_request, parse=parse_count),
            quota=self.quota,
            quota_every_s=self._settings.quota_every_s,
            rotation=ROTATION,
            models=list(listed.values()),
            credential_kind=KIND,
            flat_rate=True,
            fetch_links=FetchLimits(),
            lifecycle=LIFECYCLE,
        )

    def encode(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        project = credential.details.get("project_id")
        if not isinstance(project, str) or not project:
            # The refresher marks such a login as incomplete. An invented project would get misleading errors.
            raise CredentialRefused("The Google Cloud project of this login is not known.", code="project_required")
        model = self._model(chat_of(call).model)
        call = replace(call, chat=replace(chat_of(call), model=model))
        request, dropped = request_of(call, self._signatures)
        if self._settings.safety_off:
            request.setdefault("safetySettings", [dict(setting) for setting in SAFETY_OFF])
        request["session_id"] = session_id(call)
        body: JsonObject = {
            "model": model,
            "project": project,
            "user_prompt_id": f"{uuid4().hex[:16]}########0",
            "request": request,
        }
        if self._settings.paid_credits and call.stream and model in PAID:
            body["enabled_credit_types"] = ["GOOGLE_ONE_AI"]
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        return UpstreamRequest(
            url=f"{self._backend.base}:{method}",
            headers=self._headers(credential),
            content=json_bytes(body),
            dropped=dropped,
        )

    def count_request(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        """``UpstreamCount``: this method counts contents only, so instructions and tools are sent as a user's text."""
        chat = chat_of(call)
        request, _ = request_of(call, self._signatures)
        others = list(request.get("systemInstruction", {}).get("parts", ()))
        if "tools" in request:
            others.append({"text": json_bytes(request["tools"]).decode()})
        contents = [*request["contents"], *([{"role": "user", "parts": others}] if others else [])]
        return UpstreamRequest(
            url=f"{self._backend.base}:countTokens",
            headers=self._headers(credential),
            content=json_bytes({"request": {"model": f"models/{self._model(chat.model)}", "contents": contents}}),
        )

    def _headers(self, credential: Credential) -> list[tuple[str, str]]:
        headers = [
            ("authorization", f"Bearer {credential.secret.get_secret_value()}"),
            ("content-type", "application/json"),
            *self._backend.headers,
        ]
        quota_project = credential.details.get("quota_project_id")
        if isinstance(quota_project, str) and quota_project:
            headers.append(("x-goog-user-project", quota_project))
        return headers

    def _model(self, name: str) -> str:
        settings = self._settings
        model = backend_name(
            name,
            previews=settings.previews,
            newest_flash=settings.newest_flash,
            newest_lite=settings.newest_lite,
        )
        if settings.capacity_fallback and self._no_capacity_until.get(model, 0.0) > self._clock():
            return SUBSTITUTES.get(model, model)
        return model

    def classify_failure(self, failure: UpstreamFailure) -> FailureDecision:
        decision = classify_failure(failure)
        if self._settings.capacity_fallback and decision.error.code == "model_capacity_exhausted":
            model = _named_model(failure)
            if model in SUBSTITUTES:
                self._no_capacity_until[model] = self._clock() + _NO_CAPACITY_S
                # Without a wait time, because the substitute is used at once.
                exhausted = CapacityExhausted(decision.error.message, code=decision.error.code)
                return FailureDecision(fault="model", next="retry", error=exhausted)
        return decision

    async def quota(self, credential: Credential, exchange: HttpClient) -> Sequence[QuotaWindow]:
        return await ask_quota(credential, exchange, self._backend)


def _named_model(failure: UpstreamFailure) -> str:
    error = read_google_error(failure.body)
    match = _MODEL.search(error.message)
    return error.metadata_value("model") or (match[1].rstrip(".") if match else "")


def session_id(call: ProviderCall) -> str:
    """An id derived from the first user message, so that it stays the same throughout a client's conversation."""
    first = next((message for message in chat_of(call).messages if message.role == "user"), None)
    digest = sha256(f"{call.client}\0".encode())
    for part in first.parts if first is not None else ():
        if isinstance(part, Text):
            digest.update(part.text.encode("utf-8", "surrogatepass"))
        elif isinstance(source := getattr(part, "source", None), InlineData):
            digest.update(source.data[:4096].encode())
    return str(UUID(bytes=digest.digest()[:16], version=4))
