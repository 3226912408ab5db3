"""The names of providers and models, here and in litellm. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

#: litellm's providers that need nothing but a key and have no plugin of their own.
KEY_ONLY = (
    "ai21 aiml baseten cohere cometapi deepinfra featherless_ai friendliai galadriel github huggingface hyperbolic "
    "inception jina_ai lambda_ai maritalk meta_llama minimax morph nebius nlp_cloud novita nscale ovhcloud perplexity "
    "poe publicai replicate sambanova scaleway synthetic v0 vercel_ai_gateway volcengine voyage wandb"
).split()
#: These have one, which is better; without it they go this way.
OWN_PLUGINS = ("anthropic", "gemini")

#: Maps our names, and those that vendors' own tools use, to litellm's.
_ALIASES = {
    "gemini_cli": ("gemini",),
    "google": ("gemini",),
    "qwen_code": ("dashscope",),
    "qwen": ("dashscope",),
    "alibaba": ("dashscope",),
    "nvidia": ("nvidia_nim",),
    "together": ("together_ai",),
    "fireworks": ("fireworks_ai",),
    "vertex": ("vertex_ai",),
    "azure_openai": ("azure",),
    "deepinfra_ai": ("deepinfra",),
    "mistralai": ("mistral",),
    "moonshotai": ("moonshot",),
    "kimi": ("moonshot",),
    "z_ai": ("zai",),
    "x_ai": ("xai",),
    "grok": ("xai",),
    "lambda": ("lambda_ai",),
    "vercel": ("vercel_ai_gateway",),
    "bedrock_converse": ("bedrock",),
    "cohere_chat": ("cohere",),
    "azure_text": ("azure",),
}
#: litellm splits some providers by the purpose or the maker of their models.
_DIVIDED = re.compile(r"(vertex_ai|fireworks_ai)-[\w-]+")
_TEXT = re.compile(r"text-completion-(\w+)")
#: ``-20250929``, ``-2024-08-06``, ``@20250929``, ``-latest``.
_DATED = re.compile(r"(?:[-@](?:20\d{6}|20\d\d-\d\d-\d\d)|-latest|@latest|@default)$")


@lru_cache(maxsize=512)
def providers_of(name: str) -> tuple[str, ...]:
    """litellm's possible names for a provider, best first. ``litellm-<x>`` means litellm's own ``<x>``."""
    name = name.lower().removeprefix("litellm-")
    divided, text = _DIVIDED.fullmatch(name), _TEXT.fullmatch(name)
    if divided or text:
        return (divided[1],) if divided else (text[1],) if text else ()
    plain = name.replace("-", "_")
    return tuple(dict.fromkeys((*_ALIASES.get(plain, ()), name, plain)))


def stem(model: str) -> str:
    """A model's name without its date, in lower case."""
    return _DATED.sub("", model.lower())
