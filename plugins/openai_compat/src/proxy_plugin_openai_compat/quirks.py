"""Each vendor's deviations from OpenAI's API, as data. One row a vendor; the code has no vendor's name.

A row says only what a relay must *do* differently; what a vendor merely adds passes through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

CHAT, COMPLETIONS, EMBEDDINGS = "openai_chat", "openai_completions", "openai_embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How a family of models is told to think: what ``reasoning_effort`` becomes.

    ``levels`` are the fields for an effort, ``""`` those for an effort left out or unknown, ``off``
    those for none. What the client set itself stays.
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
#: A dynamic budget, in a form that only Gemini knows.
DYNAMIC_THINKING = {"type": "enabled", "budget_tokens": -1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """How one vendor differs. The defaults are OpenAI's own behaviour."""

    base_url: str = ""
    #: Works without a key: a server on the user's own machine.
    local: bool = False
    #: The endpoints it has; chat can stand in for legacy completions.
    endpoints: tuple[str, ...] = (CHAT, EMBEDDINGS, COMPLETIONS)
    #: Takes ``stream_options.include_usage``. Where not, it is not sent, not even for a client that asks.
    stream_usage: bool = True
    #: Request fields it knows under another name only.
    renames: Mapping[str, str] = field(default_factory=dict)
    #: Advisory request fields, and fields of messages, that it refuses instead of ignoring.
    drops: frozenset[str] = frozenset()
    message_drops: frozenset[str] = frozenset()
    #: Values it refuses, by field.
    drop_values: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"thinking": (DYNAMIC_THINKING,)})
    #: Models that take ``dimensions`` (globs); the others get a 400 for it. ``None``: all of them.
    dimensions: tuple[str, ...] | None = None
    #: How its reasoning models are told to think.
    thinking: tuple[Thinking, ...] = ()
    #: Further statuses that mean a rate limit here.
    rate_limited: frozenset[int] = frozenset()


#: They know one effort.
_HIGH: Mapping[str, Mapping[str, Any]] = {"": {"reasoning_effort": "high"}}
#: DeepSeek's v4 models know two efforts.
_DEEPSEEK_EFFORTS = {"low": "high", "medium": "high", "high": "max", "max": "max", "xhigh": "max", "": "max"}

#: An upstream nobody has a row for.
PLAIN = Vendor(local=True)

PRESETS: Mapping[str, Vendor] = {
    "openai": Vendor(base_url="https://api.openai.com/v1", dimensions=("text-embedding-3*",)),
    "openrouter": Vendor(base_url="https://openrouter.ai/api/v1"),
    # console.groq.com/docs/openai: these are a 400. 498 is "flex tier capacity exceeded".
    "groq": Vendor(
        base_url="https://api.groq.com/openai/v1",
        endpoints=(CHAT,),
        drops=frozenset({"logit_bias"}),
        message_drops=frozenset({"name"}),
        rate_limited=frozenset({498}),
    ),
    # Validates strictly (422 "Extra inputs are not permitted"); usage is always in the last chunk.
    # openai-agents-python #442, eca #231, crush #1590.
    "mistral": Vendor(
        base_url="https://api.mistral.ai/v1",
        endpoints=(CHAT, EMBEDDINGS),
        stream_usage=False,
        renames={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
        drops=frozenset({"logit_bias", "user", "store", "service_tier", "prompt_cache_key"}),
        message_drops=frozenset({"name", "reasoning_content"}),
        thinking=(Thinking(models=("mistral-medium*", "mistral-small*"), levels=_HIGH),),
    ),
    # api-docs.deepseek.com: knows max_tokens only.
    "deepseek": Vendor(
        base_url="https://api.deepseek.com/v1",
        endpoints=(CHAT,),
        renames={"max_completion_tokens": "max_tokens"},
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
    # Hangs silently on include_usage: DeepTutor #420. Its models think only if their templates are told to.
    "nvidia_nim": Vendor(
        base_url="https://integrate.api.nvidia.com/v1",
        stream_usage=False,
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
    "together": Vendor(base_url="https://api.together.xyz/v1"),
    "fireworks": Vendor(base_url="https://api.fireworks.ai/inference/v1"),
    # inference-docs.cerebras.ai: these are a 400.
    "cerebras": Vendor(
        base_url="https://api.cerebras.ai/v1",
        endpoints=(CHAT, COMPLETIONS),
        drops=frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "service_tier"}),
    ),
    "xai": Vendor(base_url="https://api.x.ai/v1", endpoints=(CHAT, COMPLETIONS)),
    "moonshot": Vendor(base_url="https://api.moonshot.ai/v1", endpoints=(CHAT,)),
    "zai": Vendor(base_url="https://api.z.ai/api/paas/v4", endpoints=(CHAT, EMBEDDINGS)),
    "chutes": Vendor(base_url="https://llm.chutes.ai/v1"),
    "nanogpt": Vendor(base_url="https://nano-gpt.com/api/v1"),
    "ollama": Vendor(base_url="http://127.0.0.1:11434/v1", local=True),
    "lm_studio": Vendor(base_url="http://127.0.0.1:1234/v1", local=True),
    "llama_cpp": Vendor(base_url="http://127.0.0.1:8080/v1", local=True),
    "vllm": Vendor(base_url="http://127.0.0.1:8000/v1", local=True),
}
