"""Which tokenizer a model uses, and whether that is certain or only likely. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

from proxy_plugin_litellm.names import providers_of


class Known(Struct, frozen=True, kw_only=True):
    """``encoding`` is one that may be on disk; ``None``: it never is, and ``note`` says why.

    ``sure``: the provider itself counts with it. ``frames``: the tokens added around messages are published.
    """

    name: str
    encoding: str | None = None
    sure: bool = False
    frames: bool = False
    note: str = ""


#: OpenAI's models, fine-tuned ones included. Source: tiktoken ``model.py``.
_O200K = re.compile(r"(?:ft:)?(?:chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-oss|o1|o3|o4-mini)(?![a-z0-9])")
_CL100K = re.compile(
    r"(?:ft:)?(?:gpt-4|gpt-3\.5|gpt-35-turbo)(?![a-z0-9.])|text-embedding-(?:ada-002|3-small|3-large)$|(?:davinci|babbage)-002$"
)
#: Not for reasoning models, which add more tokens around messages than is published.
_FRAMES = re.compile(r"(?:ft:)?(?:chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4|gpt-3\.5)(?![a-z0-9])")
_ROUTERS = frozenset({"openrouter", "vercel_ai_gateway", "github", "aihubmix"})
_ELSEWHERE = re.compile(
    r"llama|mistral|mixtral|codestral|ministral|qwen|gemma|command|phi-|kimi|glm|minimax|grok|nova|jamba|granite|nemotron"
)


def tokenizer_of(provider: str, model: str) -> Known | None:
    """``None`` if the names do not show whose model it is."""
    vendor, _, own = model.lower().rpartition("/")
    names = providers_of(provider)
    encoding = "o200k_base" if _O200K.match(own) else "cl100k_base" if _CL100K.match(own) else None
    if encoding is not None:
        # Open-weight models are the same everywhere; any other server may call any model gpt-4o.
        openai = (
            "openai" in names or (vendor == "openai" and not _ROUTERS.isdisjoint(names)) or own.startswith("gpt-oss")
        )
        note = "" if openai else f"Counted as OpenAI's {own}, judging by the name alone."
        return Known(name=encoding, encoding=encoding, sure=openai, frames=bool(_FRAMES.match(own)), note=note)
    if "claude" in own:
        return Known(name="Claude's", note="Anthropic publishes no tokenizer for its current models.")
    if "gemini" in own:
        return Known(
            name="Gemini's", note="Gemini's tokenizer is not on this disk, and the proxy does not download it."
        )
    if own.startswith("deepseek"):
        note = "Counted with the tokenizer of DeepSeek V3; the model may use another one."
        return Known(name="deepseek", encoding="deepseek", note=note)
    if _ELSEWHERE.search(own):
        return Known(
            name="its own", note="The model's tokenizer would have to be downloaded, which the proxy does not do."
        )
    return None
