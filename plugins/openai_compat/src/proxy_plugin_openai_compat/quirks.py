"""Each vendor's deviations from OpenAI's API, as data: one row per vendor; the code names no vendor.

A row lists only what a relay must *do* differently; a vendor's additional fields pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct, field

from proxy_core import ErrorRules, FailureKind, FieldFilter, RotationSettings, WindowSettings
from proxy_plugin_openai_compat.quotas import GROUP, Figures, QuotaPage

CHAT, COMPLETIONS, EMBEDDINGS = "openai_chat", "openai_completions", "openai_embeddings"
#: Of ``proxy-plugin-openai-responses``; without it, no provider has this format.
RESPONSES = "openai_responses"
MAX_TOKENS, MAX_COMPLETION_TOKENS = "max_tokens", "max_completion_tokens"


class Thinking(Struct, frozen=True, kw_only=True):
    """How to turn thinking on or off for a family of models: the fields that replace ``reasoning_effort``.

    ``levels`` are the fields for each effort, with ``""`` for a missing or unknown effort; ``off`` are the
    fields for no thinking. Fields that the client has set itself are kept.
    """

    models: tuple[str, ...]
    levels: Mapping[str, Mapping[str, Any]]
    off: Mapping[str, Any] = field(default_factory=dict)

    def applies(self, model: str) -> bool:
        return any(fnmatchcase(model.lower(), glob) for glob in self.models)

    def fields(self, effort: object) -> Mapping[str, Any]:
        word = effort.lower() if isinstance(effort, str) else ""
        return self.off if word in OFF else self.levels.get(word, self.levels[""])


OFF = frozenset({"none", "disable", "disabled", "off"})
#: A dynamic budget, in a form that only Gemini understands.
DYNAMIC_THINKING = {"type": "enabled", "budget_tokens": -1}


class Vendor(Struct, frozen=True, kw_only=True):
    """How one vendor differs. The defaults are OpenAI's own behaviour."""

    base_url: str = ""
    #: Works without a key: a server on the user's own machine.
    local: bool = False
    #: The endpoints it has. If it has no legacy completions, chat can serve them.
    endpoints: tuple[str, ...] = (CHAT, EMBEDDINGS, COMPLETIONS)
    #: Models (globs) that it serves at one endpoint only.
    only_responses: tuple[str, ...] = ()
    #: Counts the tokens of a request in the newest of its formats, at ``/responses/input_tokens``.
    counts_tokens: bool = False
    #: Its models seal reasoning, and the newest of its formats takes its name for the maker.
    seals: bool = False
    #: Its name for the limit on tokens in chat. Servers that do not know the newer name ignore it, and write on and on.
    token_limit: str = MAX_TOKENS
    #: Accepts ``stream_options.include_usage``. If not, it is never sent, even if the client asks for it.
    stream_usage: bool = True
    #: Request fields that it knows only under another name.
    renames: Mapping[str, str] = field(default_factory=dict)
    #: Optional request fields, and fields of messages, that it refuses instead of ignoring.
    drops: frozenset[str] = frozenset()
    message_drops: frozenset[str] = frozenset()
    #: Values that it refuses, by field.
    drop_values: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"thinking": (DYNAMIC_THINKING,)})
    #: Models that accept ``dimensions`` (globs); others answer 400 to it. ``None``: all models.
    dimensions: tuple[str, ...] | None = None
    #: Fields with which a request chooses another model or route, in the form that ``FieldFilter`` compares.
    steering: frozenset[str] = frozenset()
    #: Models (globs) for which it understands marks for the prompt cache, ``cache_control``, and in whose texts.
    caches: tuple[str, ...] = ()
    cached_roles: tuple[str, ...] = ("system", "developer", "user")
    #: Where it says how much quota a key has left.
    quota: QuotaPage | None = None
    #: Refuses a turn of the model's without its thoughts, which many clients do not return.
    needs_thoughts: bool = False
    #: How to turn on thinking in its reasoning models.
    thinking: tuple[Thinking, ...] = ()
    #: The meaning of its errors whose words or statuses differ from OpenAI's.
    errors: ErrorRules = field(default_factory=ErrorRules)


def _codes(table: Mapping[FailureKind, str]) -> dict[str, FailureKind]:
    """Convert ``{kind: "word word"}`` to the form that :class:`ErrorRules` expects."""
    return {word: kind for kind, words in table.items() for word in words.split()}


#: These models know only one effort.
_HIGH: Mapping[str, Mapping[str, Any]] = {"": {"reasoning_effort": "high"}}
#: DeepSeek's v4 models know two efforts.
_DEEPSEEK_EFFORTS = {"low": "high", "medium": "high", "high": "max", "max": "max", "xhigh": "max", "": "max"}

#: An upstream may be a gateway that reads its own credentials and addresses from fields with these prefixes;
#: ``FieldFilter`` describes how names are compared.
GATEWAY_FIELDS = FieldFilter(prefixes="aws azure vertex litellm langfuse hfapi".split())

#: An upstream that has no row: it may be any gateway. The fields are those of LiteLLM, Portkey, the gateways of
#: Vercel and Cloudflare, Azure and Bedrock, and of OpenAI's former API.
PLAIN = Vendor(
    local=True,
    # Gateways to Anthropic's models. Some put one in a tool's result where the API refuses it (hermes-agent).
    caches=("*claude*",),
    steering=frozenset(
        """
        model modelid modelname models modelgroup modeloverride fallback fallbackmodel fallbackmodels modelfallbacks
        route router routing routes routingstrategy routersettings routersettingsoverride strategy
        provider providers provideroptions gateway gatewayoptions target targets config overrideparams
        deployment deploymentid specificdeployment engine inferenceprofile inferenceprofilearn
        """.split()
    ),
)

#: Hosts that want the newer name of the limit although no row is named in the settings.
NEWER_LIMIT_HOSTS = ("api.openai.com", "*.openai.azure.com", "*.cognitiveservices.azure.com", "*.services.ai.azure.com")

#: Models that read the thoughts of earlier turns, whoever serves them; other servers refuse ``reasoning_content``.
#: The first ones refuse a call without it: api-docs.deepseek.com/guides/thinking_mode, platform.moonshot.ai.
NEED_THOUGHTS = ("*deepseek*", "*kimi*")
READ_THOUGHTS = (*NEED_THOUGHTS, "*qwen*", "*qwq*", "*glm*", "*mimo*", "*minimax*")
#: Models that know ``reasoning_effort``; most others answer 400 to it.
KNOW_EFFORT = ("o[1-9]*", "*/o[1-9]*", "*gpt-[5-9]*", "*gpt-oss*", "*gemini-*", "*claude-*")

#: Providers that speak another format, and the package that has it: with OpenAI's, each request would be a 404.
OTHER_FORMATS: Mapping[str, str] = {"anthropic": "proxy-plugin-anthropic"}

#: Providers that people have keys or logins for, and the packages that serve them.
PACKAGES: Mapping[str, str] = {
    **OTHER_FORMATS,
    **{name: f"proxy-plugin-{name.replace('_', '-')}" for name in ("gemini", "gemini_cli", "qwen_code")},
    **dict.fromkeys(
        (
            "ai21 aiml baseten cohere cometapi deepinfra featherless_ai friendliai galadriel github huggingface "
            "hyperbolic inception jina_ai lambda_ai maritalk meta_llama minimax morph nebius nlp_cloud novita nscale "
            "ovhcloud perplexity poe publicai replicate sambanova scaleway synthetic v0 vercel_ai_gateway volcengine "
            "voyage wandb"
        ).split(),
        "proxy-plugin-litellm",
    ),
}

#: Models that take system messages anywhere. Templates of others refuse them after the first message, or drop them:
#: vllm #41114, ollama #17774, QwenLM/Qwen3.8 #244; some also refuse two messages of the user in a row: crush #279.
TAKE_SYSTEM = ("gpt-[3-9]*", "chatgpt-*", "o[1-9]*", "*openai/gpt-[3-9]*", "*openai/o[1-9]*")

PRESETS: Mapping[str, Vendor] = {
    # Its reasoning models answer 400 to max_tokens. Chat is refused by some models (goose #2564, vscode-openai #358).
    "openai": Vendor(
        base_url="https://api.openai.com/v1",
        endpoints=(CHAT, EMBEDDINGS, COMPLETIONS, RESPONSES),
        counts_tokens=True,
        seals=True,
        only_responses=("o1-pro*", "o3-pro*", "gpt-5*-pro*", "*codex*", "*deep-research*", "computer-use*"),
        dimensions=("text-embedding-3*",),
        token_limit=MAX_COMPLETION_TOKENS,
    ),
    # openrouter.ai/docs/api/reference/errors-and-debugging and …/limits: a 403 means moderation or a spent
    # budget; a 402 may pass within seconds. The upstream's own error text is in metadata.
    "openrouter": Vendor(
        base_url="https://openrouter.ai/api/v1",
        # openrouter.ai/docs: prompt caching, "cache_control"; with other models, it converts or ignores them.
        caches=("*",),
        cached_roles=("system", "developer", "user", "tool"),
        # openrouter.ai/docs/features: model routing, provider routing, presets; a plugin may be the auto router.
        # Where a prompt is compressed by ``transforms``, that also decides which models it may go to.
        steering=frozenset({"models", "route", "provider", "preset", "plugins", "transforms"}),
        errors=ErrorRules(
            codes=_codes(
                {
                    "rate_limited": "openrouter_in_flight_budget in_flight_budget_exhausted",
                    "too_large": "weight_exceeds_budget",
                    "unpaid": "openrouter_credits openrouter_key_limit openrouter_guardrail_budget"
                    " openrouter_workspace_budget",
                }
            ),
            messages={r".{0,300}input was flagged": "client"},
        ),
    ),
    # console.groq.com/docs/openai: these fields cause a 400. 498 is "flex tier capacity exceeded".
    "groq": Vendor(
        base_url="https://api.groq.com/openai/v1",
        token_limit=MAX_COMPLETION_TOKENS,
        endpoints=(CHAT,),
        drops=frozenset({"logit_bias"}),
        message_drops=frozenset({"name", "reasoning_content"}),
        errors=ErrorRules(messages={r"organization has been restricted": "disabled"}, statuses={498: "rate_limited"}),
    ),
    # Validates strictly (422 "Extra inputs are not permitted"); usage is always in the last chunk.
    # openai-agents-python #442, eca #231, crush #1590.
    "mistral": Vendor(
        base_url="https://api.mistral.ai/v1",
        endpoints=(CHAT, EMBEDDINGS),
        stream_usage=False,
        renames={"seed": "random_seed"},
        drops=frozenset({"logit_bias", "user", "store", "service_tier", "prompt_cache_key"}),
        message_drops=frozenset({"name", "reasoning_content"}),
        thinking=(Thinking(models=("mistral-medium*", "mistral-small*"), levels=_HIGH),),
    ),
    # api-docs.deepseek.com/guides/thinking_mode; also of turns without calls: hermes-agent #16021.
    "deepseek": Vendor(
        base_url="https://api.deepseek.com/v1",
        endpoints=(CHAT,),
        needs_thoughts=True,
        thinking=(
            Thinking(
                models=("*deepseek-v4*",),
                levels={
                    effort: {"thinking": {"type": "enabled"}, "reasoning_effort": word}
                    for effort, word in _DEEPSEEK_EFFORTS.items()
                },
                off={"thinking": {"type": "disabled"}},
            ),
        ),
    ),
    # Hangs silently on include_usage: DeepTutor #420. Its models think only if chat_template_kwargs say so.
    "nvidia_nim": Vendor(
        base_url="https://integrate.api.nvidia.com/v1",
        stream_usage=False,
        # The model was withdrawn (free-claude-code #1021).
        errors=ErrorRules(messages={r"function \S{1,60}: not found for account": "no_model"}),
        thinking=(
            Thinking(
                models=("*deepseek-v4*",),
                levels={
                    effort: {"chat_template_kwargs": {"thinking": True, "reasoning_effort": word}}
                    for effort, word in _DEEPSEEK_EFFORTS.items()
                },
            ),
            Thinking(
                models=("*deepseek-v3.1*", "*deepseek-v3.2*", "*kimi-k2*"),
                levels={"": {"chat_template_kwargs": {"thinking": True}}},
            ),
            Thinking(models=("*mistral-medium-3.5*", "*mistral-small-4*"), levels=_HIGH),
        ),
    ),
    # docs.together.ai/docs/error-codes: a 403 means that the context is too long.
    "together": Vendor(base_url="https://api.together.xyz/v1", errors=ErrorRules(statuses={403: "too_long"})),
    # docs.fireworks.ai/guides/inference-error-codes: a 412 means a suspended account (its text: llmgateway #3838,
    # pollinations #12136) or an adapter that does not load.
    "fireworks": Vendor(
        base_url="https://api.fireworks.ai/inference/v1",
        errors=ErrorRules(messages={r"account \S{1,100} is suspended": "unpaid"}, statuses={412: "no_model"}),
    ),
    # inference-docs.cerebras.ai: these fields cause a 400. Its "quota" is per second or minute (explyt #35).
    "cerebras": Vendor(
        base_url="https://api.cerebras.ai/v1",
        token_limit=MAX_COMPLETION_TOKENS,
        endpoints=(CHAT, COMPLETIONS),
        drops=frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "service_tier"}),
        errors=ErrorRules(
            codes=_codes({"rate_limited": "request_quota_exceeded token_quota_exceeded"}),
            messages={r"we're experiencing high traffic": "overloaded"},
        ),
    ),
    # A wrong key gets a 400 (openai/codex #1352).
    "xai": Vendor(
        base_url="https://api.x.ai/v1",
        token_limit=MAX_COMPLETION_TOKENS,
        endpoints=(CHAT, COMPLETIONS),
        errors=ErrorRules(messages={r"incorrect api key provided": "refused"}),
    ),
    # platform.kimi.ai/docs/api/errors; an empty balance gets a 403 or 429 (Kimi-K2 #5, opencode #24462).
    "moonshot": Vendor(
        base_url="https://api.moonshot.ai/v1",
        endpoints=(CHAT,),
        errors=ErrorRules(
            codes=_codes(
                {
                    "unpaid": "exceeded_current_quota_error",
                    "rate_limited": "rate_limit_reached_error",
                    "overloaded": "engine_overloaded_error",
                    "refused": "invalid_authentication_error incorrect_api_key_error",
                    "no_model": "resource_not_found_error",
                }
            )
        ),
    ),
    # docs.z.ai/api-reference/api-code: most of these come with a 429, or inside a response with status 200.
    # 1305 also occurs. 1308 names its reset in Beijing time without saying so (model-hotel #955).
    "zai": Vendor(
        base_url="https://api.z.ai/api/paas/v4",
        endpoints=(CHAT, EMBEDDINGS),
        errors=ErrorRules(
            codes=_codes(
                {
                    "refused": "1000 1001 1002 1003 1004",
                    "disabled": "1110 1111 1112 1121",
                    "unpaid": "1113 1309",
                    "client": "1210 1212 1213 1214 1215 1300 1301",
                    "no_model": "1211",
                    "model_denied": "1220",
                    "rate_limited": "1302 1303 1305",
                    "quota": "1304 1308",
                    "broken": "1120 1200 1230 1234",
                    "conflict": "1231",
                }
            )
        ),
    ),
    # help.aliyun.com/zh/dashscope/return-status-code-description; "AllocationQuota" means tokens per minute there,
    # and insufficient_quota a free or daily allowance. A key is valid only in its region: base_url sets another one.
    "dashscope": Vendor(
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        endpoints=(CHAT, EMBEDDINGS),
        errors=ErrorRules(
            codes=_codes(
                {
                    "unpaid": "arrearage",
                    "refused": "invalidapikey",
                    "model_denied": "accessdenied accessdenied.unpurchased model.accessdenied",
                    "client": "datainspectionfailed data_inspection_failed badrequest.toolarge",
                    "quota": "insufficient_quota",
                    "rate_limited": "throttling throttling.ratequota throttling.allocationquota limit_requests"
                    " limit_burst_rate",
                    "overloaded": "modelunavailable serviceunavailable",
                    "timeout": "requesttimeout",
                    "broken": "internalerror internalerror.algo",
                }
            )
        ),
    ),
    # Counts credits: a request is about one.
    "chutes": Vendor(
        base_url="https://llm.chutes.ai/v1",
        quota=QuotaPage(
            url="https://api.chutes.ai/users/me/quota_usage/me",
            figures=(Figures(limit="quota", used="used"),),
            rotation=RotationSettings(quota_groups={GROUP: ["*"]}),
        ),
    ),
    # docs.nano-gpt.com: what a subscription has used. A key without one has no windows.
    "nanogpt": Vendor(
        base_url="https://nano-gpt.com/api/v1",
        quota=QuotaPage(
            url="/api/subscription/v1/usage",
            figures=(
                Figures(used="daily.used", left="daily.remaining", resets="daily.resetAt"),
                Figures(window="monthly", used="monthly.used", left="monthly.remaining", resets="monthly.resetAt"),
            ),
            rotation=RotationSettings(
                quota_groups={GROUP: ["*"]}, windows=[WindowSettings(name="monthly", resets="monthly 1 00:00")]
            ),
        ),
    ),
    # A share of the window of five hours that begins with the first request.
    "firmware": Vendor(
        base_url="https://app.firmware.ai/api/v1",
        quota=QuotaPage(
            url="quota",
            figures=(Figures(share="used", resets="reset"),),
            rotation=RotationSettings(
                quota_groups={GROUP: ["*"]}, quota_window_s=18_000, quota_window_begins="first_request"
            ),
        ),
    ),
    "ollama": Vendor(base_url="http://127.0.0.1:11434/v1", local=True),
    "lm_studio": Vendor(base_url="http://127.0.0.1:1234/v1", local=True),
    "llama_cpp": Vendor(base_url="http://127.0.0.1:8080/v1", local=True),
    "vllm": Vendor(base_url="http://127.0.0.1:8000/v1", local=True),
}
#: The names that litellm, and what is built on it, has for these.
PRESETS = {**PRESETS, "together_ai": PRESETS["together"], "fireworks_ai": PRESETS["fireworks"]}

#: For clients that are limited to certain models or to dollars a day: whichever upstream answers, its address may
#: belong to any gateway.
STEERING_FIELDS = FieldFilter(names=frozenset().union(*(vendor.steering for vendor in (PLAIN, *PRESETS.values()))))

#: For clients that are limited to dollars a day: these choose another price than the one that is counted, unless they
#: have one of these values. platform.openai.com/docs/pricing (priority), platform.claude.com/docs (fast mode).
PRICE_FIELDS: Mapping[str, frozenset[str]] = {
    "service_tier": frozenset({"auto", "default", "flex", "standard", "standard_only"}),
    "speed": frozenset({"standard"}),
}
PRICING_FIELDS = FieldFilter(names=[name.replace("_", "") for name in PRICE_FIELDS])
