"""A conversation that is longer than a model's context, said so that agents understand it, whoever the upstream is."""

from __future__ import annotations

import re

#: How servers say it, with what was sent (``n``) and the most that fits (``most``), where they tell.
_WORDS = [
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # Anthropic
        r"prompt is too long(: (?P<n>\d+) tokens > (?P<most>\d+))?",
        r"input length and `?max_tokens`? exceed context limit",
        # OpenAI, vLLM, SGLang, DeepSeek, Mistral
        r"maximum context length (is|of) (?P<most>\d+) tokens.{1,80}?"
        r"(requested|resulted in|contains?( at least)?|has) (about )?(?P<n>\d+)",
        r"maximum context length (is|of) (?P<most>\d+)",
        r"(?P<n>\d+) tokens?.{1,60}(maximum|exceeds?|larger than|limit).{1,60}?(?P<most>\d+)",
        # Google
        r"input token count \(?(?P<n>\d+)\)? exceeds the maximum number of tokens( allowed)?( \(?(?P<most>\d+))?",
        # Alibaba
        r"range of input length should be \[\d+, ?(?P<most>\d+)\]",
        # llama.cpp, Ollama, LM Studio and the rest
        r"exceeds? the (available |model's )?context (window|size|length)",
        r"context[_ ]length[_ ]exceeded|context (window|length) (is )?exceeded|input is too long|"
        r"(prompt|input|request) (is )?(too long|exceeds the context)",
    )
]


def overflow(message: str) -> str | None:
    """The message in Anthropic's form; ``None`` if it is about something else."""
    for pattern in _WORDS:
        if (found := pattern.search(message)) is None:
            continue
        numbers = found.groupdict()
        if numbers.get("n") and numbers.get("most") and int(numbers["n"]) > int(numbers["most"]):
            return f"prompt is too long: {int(numbers['n'])} tokens > {int(numbers['most'])} maximum"
        return message if message.startswith(_PLAIN) else f"prompt is too long: {message}"
    return None


_PLAIN = ("prompt is too long", "input length and")
