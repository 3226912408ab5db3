"""The provider: requests, responses and models. Pure: the core owns the sockets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import (
    Check,
    Credential,
    FailureDecision,
    ListModels,
    ModelSpec,
    Provider,
    ProviderCall,
    ProviderSettings,
    RotationSettings,
    UpstreamFailure,
    UpstreamRequest,
    json_bytes,
    load_json,
)
from proxy_plugin_qwen_code.catalogue import NOT_CHAT, OFFERED, matches
from proxy_plugin_qwen_code.errors import decide_failure, thinks_always
from proxy_plugin_qwen_code.hosts import CODING, KIND, TIERS, TOKEN, Target, mismatch, plan_of, target_of
from proxy_plugin_qwen_code.keys import SETTINGS_FILE
from proxy_plugin_qwen_code.lifecycle import LIFECYCLE
from proxy_plugin_qwen_code.request import adapted
from proxy_plugin_qwen_code.response import QwenDecoder
from proxy_plugin_qwen_code.settings import QwenCodeSettings

NAME = "qwen_code"
EMBEDDINGS = "openai_embeddings"
MOST_LEARNED = 1000
#: Prepaid plans are used first.
PLAN_PRIORITY, OTHER_PRIORITY = 5, 10


def qwen_provider(settings: QwenCodeSettings, provider: ProviderSettings) -> Provider:
    qwen = QwenCode(
        settings=settings,
        base_url=str(provider.base_url) if provider.base_url else None,
        headers=tuple((name, value.get_secret_value()) for name, value in provider.headers.items()),
    )
    return Provider(
        name=NAME,
        dialects=("openai_chat", EMBEDDINGS),
        encode=qwen.encode,
        decoder=lambda call, response: QwenDecoder(think_tags=settings.think_tags),
        classify_failure=qwen.classify_failure,
        list_models=ListModels(request=qwen.list_request, parse=parse_models),
        models=offered(settings, provider),
        credential_kind=KIND,
        accepts_api_keys=True,
        kinds_for={"embeddings": ["api_key"]},
        key_files=[SETTINGS_FILE],
        flat_rate=True,
        rotation=ROTATION,
        lifecycle=LIFECYCLE,
    )


#: The prompt cache belongs to the account, so a conversation stays with its account.
ROTATION = RotationSettings(
    selector="sticky",
    tiers={tier: PLAN_PRIORITY if tier.startswith((CODING, TOKEN)) else OTHER_PRIORITY for tier in TIERS},
)


class QwenCode(Struct, frozen=True, kw_only=True):
    """The provider's functions, bound to settings. ``base_url`` and ``headers`` come from ``[providers.qwen_code]``."""

    settings: QwenCodeSettings
    base_url: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    #: Models that have turned out to always think. Nothing else is remembered here.
    always: set[str] = field(default_factory=set)

    def classify_failure(self, failure: UpstreamFailure) -> FailureDecision:
        """Decide by the table. If a model refuses a request that turns thinking off, retry once without that."""
        decision = decide_failure(failure)
        if not thinks_always(failure) or len(self.always) >= MOST_LEARNED:
            return decision
        self.always.add(failure.model)
        return replace(decision, fault="provider", next="retry")

    def encode(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        target = target_of(credential, self.settings, self.base_url)
        if call.dialect == EMBEDDINGS:
            return self._embed(call, credential, target)
        reasoning = call.chat.reasoning if call.chat is not None else None
        body = adapted(call.body, target, self.settings, reasoning, self.always)
        headers = [("content-type", "application/json"), *self._headers(credential, target, str(body.get("model")))]
        return UpstreamRequest(url=f"{target.base}/chat/completions", headers=headers, content=json_bytes(body))

    def _embed(self, call: ProviderCall, credential: Credential, target: Target) -> UpstreamRequest:
        body = {name: value for name, value in call.body.items() if name != "stream"}
        headers = [("content-type", "application/json"), *self._headers(credential, target, str(body.get("model")))]
        return UpstreamRequest(url=f"{target.base}/embeddings", headers=headers, content=json_bytes(body))

    def list_request(self, credential: Credential) -> UpstreamRequest:
        target = target_of(credential, self.settings, self.base_url)
        return UpstreamRequest(method="GET", url=f"{target.base}/models", headers=self._headers(credential, target, ""))

    def _headers(self, credential: Credential, target: Target, model: str) -> list[tuple[str, str]]:
        """The headers of section 5 that have an effect; headers from the settings win over them."""
        own = {name.lower(): value for name, value in self.headers}
        agent = own.get("user-agent") or self.settings.user_agent
        headers = {
            "authorization": f"Bearer {credential.secret.get_secret_value()}",
            "accept": "application/json",  # for streams, too
        }
        if agent is not None:
            headers["user-agent"] = agent
        if target.dashscope:
            headers["x-dashscope-useragent"] = agent or _core_agent()
            headers["x-dashscope-cachecontrol"] = "enable"
            headers["x-dashscope-authtype"] = "qwen-oauth" if target.login else "openai"
            if "omni" in model:
                headers["x-dashscope-ossresourceresolve"] = "enable"
        return list({**headers, **own}.items())


@lru_cache(maxsize=1)
def _core_agent() -> str:
    """The ``User-Agent`` that the core sends: both headers have to carry the same string."""
    return f"proxy-core/{version('proxy-core')}"


def parse_models(body: bytes) -> list[ModelSpec]:
    """The chat models in ``{"data": [{"id": ...}]}``. Raises ``ValueError`` on anything else."""
    value = load_json(body)
    items = value.get("data") if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise ValueError("no list of models")
    named = [item for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return [
        ModelSpec(id=item["id"], created=created if isinstance(created := item.get("created"), int) else None)
        for item in named
        if not matches(item["id"], NOT_CHAT)
    ]


def offered(settings: QwenCodeSettings, provider: ProviderSettings) -> list[ModelSpec]:
    """The models known for the plans of the configured keys; without any key, the login's model."""
    plans = {plan_of(entry.key.get_secret_value(), entry.tier, settings) for entry in provider.api_keys} or {KIND}
    return [ModelSpec(id=model) for model in dict.fromkeys(m for plan in sorted(plans) for m in OFFERED[plan])]


def key_check(settings: QwenCodeSettings, provider: ProviderSettings) -> Check:
    """Report keys that cannot be valid where they would be sent, without any request."""

    def run() -> str | None:
        base_url = str(provider.base_url) if provider.base_url else None
        for number, entry in enumerate(provider.api_keys, 1):
            credential = Credential(id="", provider=NAME, kind="api_key", secret=entry.key, label="", tier=entry.tier)
            base = target_of(credential, settings, base_url).base
            if problem := mismatch(entry.key.get_secret_value(), base):
                return f"key {number} of {NAME}: {problem}"
        return None

    return Check(name="qwen_code_keys", run=run)
