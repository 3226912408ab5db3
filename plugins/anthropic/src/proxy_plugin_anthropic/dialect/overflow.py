"""A conversation that is longer than a model's context, in words that agents understand, for every upstream."""

from __future__ import annotations

import re

#: How servers say it, with what was sent (``n``) and the most that fits (``most``), where they tell.
_WORDS = [
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # Anthropic
        r"prompt is too long(: (?P<n>\d{1,15}) tokens > (?P<most>\d{1,15}))?",
        r"input length and `?max_tokens`? exceed context limit",
        # OpenAI, vLLM, SGLang, DeepSeek, Mistral
        r"maximum context length (is|of) (?P<most>\d{1,15}) tokens.{1,80}?"
        r"(requested|resulted in|contains?( at least)?|has) (about )?(?P<n>\d{1,15})",
        r"maximum context length (is|of) (?P<most>\d{1,15})",
        r"(?P<n>\d{1,15}) tokens.{1,60}?too large for model with (?P<most>\d{1,15}) maximum context",
        # Google
        r"input token count \(?(?P<n>\d{1,15})\)? exceeds the maximum number of tokens"
        r"( allowed)?( \(?(?P<most>\d{1,15}))?",
        # Alibaba
        r"range of input length should be \[\d{1,15}, ?(?P<most>\d{1,15})\]",
        # llama.cpp, Ollama, LM Studio and the rest
        r"exceeds? the (available |model's )?context (window|size|length)",
        r"context[_ ]length[_ ]exceeded|context (window|length) (is )?exceeded|input is too long|"
        r"(prompt|input|request) (is )?(too long|exceeds the context)",
    )
]


def overflow(message: str, code: str | None = None) -> str | None:
    """The message in Anthropic's form; ``None`` if it is about something else."""
    for pattern in _WORDS:
        if (found := pattern.search(message)) is None:
            continue
        numbers = found.groupdict()
        if numbers.get("n") and numbers.get("most") and int(numbers["n"]) > int(numbers["most"]):
            return f"prompt is too long: {int(numbers['n'])} tokens > {int(numbers['most'])} maximum"
        return message if message.startswith(_PLAIN) else f"prompt is too long: {message}"
    return f"prompt is too long: {message}" if code == "context_length_exceeded" else None


_PLAIN = ("prompt is too long", "input length and")
