"""Each vendor's deviations from OpenAI's API, as data. One row a vendor; the code has no vendor's name.

A row says only what a relay must *do* differently; what a vendor merely adds passes through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHAT, COMPLETIONS, EMBEDDINGS = "openai_chat", "openai_completions", "openai_embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """How one vendor differs. The defaults are OpenAI's own behaviour."""

    base_url: str = ""
    #: Works without a key: a server on the user's own machine.
    local: bool = False
    endpoints: tuple[str, ...] = (CHAT, EMBEDDINGS, COMPLETIONS)
    #: Takes ``stream_options.include_usage``. Where not, it is not sent, not even for a client that asks.
    stream_usage: bool = True
    #: Request fields under another name, and fields it refuses although they are only advisory.
    renames: Mapping[str, str] = field(default_factory=dict)
    drops: frozenset[str] = frozenset()
    #: Statuses that mean a rate limit here.
    rate_limited: frozenset[int] = frozenset()


#: An upstream nobody has a row for.
PLAIN = Vendor(local=True)

PRESETS: Mapping[str, Vendor] = {
    "openai": Vendor(base_url="https://api.openai.com/v1"),
    "openrouter": Vendor(base_url="https://openrouter.ai/api/v1"),
    "groq": Vendor(base_url="https://api.groq.com/openai/v1"),
    "mistral": Vendor(base_url="https://api.mistral.ai/v1"),
    "deepseek": Vendor(base_url="https://api.deepseek.com/v1"),
    "nvidia_nim": Vendor(base_url="https://integrate.api.nvidia.com/v1"),
    "together": Vendor(base_url="https://api.together.xyz/v1"),
    "fireworks": Vendor(base_url="https://api.fireworks.ai/inference/v1"),
    "cerebras": Vendor(base_url="https://api.cerebras.ai/v1"),
    "xai": Vendor(base_url="https://api.x.ai/v1"),
    "moonshot": Vendor(base_url="https://api.moonshot.ai/v1"),
    "zai": Vendor(base_url="https://api.z.ai/api/paas/v4"),
    "chutes": Vendor(base_url="https://llm.chutes.ai/v1"),
    "nanogpt": Vendor(base_url="https://nano-gpt.com/api/v1"),
    "ollama": Vendor(base_url="http://127.0.0.1:11434/v1", local=True),
    "lm_studio": Vendor(base_url="http://127.0.0.1:1234/v1", local=True),
    "llama_cpp": Vendor(base_url="http://127.0.0.1:8080/v1", local=True),
    "vllm": Vendor(base_url="http://127.0.0.1:8000/v1", local=True),
}
