"""Recognizes that a conversation is longer than a model's context, in the words that servers have for it. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

from proxy_core.failures.error_body import ErrorBody

#: A 500 means it only if it tells the numbers.
_STATUSES = frozenset({None, 400, 413, 422, 500})


class Overflow(Struct, frozen=True, kw_only=True):
    """``tokens`` do not fit into ``limit``; ``None`` if the server does not tell. If it is only together with those
    ``reserved`` for the response that they do not, a shorter response would do."""

    tokens: int | None = None
    limit: int | None = None
    reserved: int = 0


#: What was sent (``n``, or ``input`` and ``output``) and the most that fits, where the words tell; more precise ones
#: first. One vendor's words are another's, as they use each other's servers.
_WORDS = [
    re.compile(pattern.replace("#", r"\d{1,15}"), re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"prompt is too long: (?P<n>#) tokens > (?P<most>#)",
        r"prompt is too long: (?P<n>#), model maximum context length: (?P<most>#)",
        r"input length and `?max_tokens`? exceed context limit(: (?P<input>#) \+ (?P<output>#) > (?P<most>#))?",
        r"max_(completion_)?tokens['`]? is too large: (?P<output>#).{1,20}maximum context length is (?P<most>#)"
        r".{1,40}?has (?P<input>#) input tokens",
        r"maximum context length is (?P<most>#) tokens.{1,20}requested (?P<output>#) output tokens "
        r"and your prompt contains (at least )?(?P<input>#)",
        r"maximum (context|prompt) length (is|of) (?P<most>#)( tokens)?.{1,80}?"
        r"(requested( a total of)?|resulted in|contains?( at least)?|has) (about )?(?P<n>#)",
        r"maximum (context|prompt) length (is|of) (?P<most>#)",
        r"passed (?P<input>#) input tokens and requested (?P<output>#) output tokens.{1,60}"
        r"context length is only (?P<most>#)",
        r"context length is only (?P<most>#)",
        r"(?P<n>#) tokens.{1,60}?too large for model with (?P<most>#) maximum context",
        r"prompt \((total )?length (?P<n>#)\) is (longer than the maximum model length of|too long to fit into the "
        r"model \(context length) (?P<most>#)",
        r"input \((?P<n>#) tokens\) is longer than the model's context length \((?P<most>#)",
        r"input length \((?P<n>#) tokens\) exceeds the maximum allowed length \((?P<most>#)",
        r"max input length is (?P<most>#) tokens, but you supplied (?P<n>#)",
        r"model token limit: (?P<most>#) \(requested: (?P<n>#)",
        r"prompt token count of (?P<n>#) exceeds the limit of (?P<most>#)",
        r"input token count( \(?(?P<n>#)\)?)? exceeds the maximum number of tokens( allowed)?( \(?(?P<most>#))?",
        r"too many tokens: (size limit exceeded|.{1,60}cannot exceed (?P<most>#) - received (?P<n>#))",
        r"must be <= (?P<most>#)\. given: (?P<input>#) `inputs` tokens and (?P<output>#)",
        r"`inputs` must have less than (?P<most>#) tokens\. given: (?P<n>#)",
        r"keep the first (?P<n>#) tokens when.{1,60}context length of only (?P<most>#)",
        r"initial prompt is greater than the context length( \(n_keep: (?P<n>#) ?>= ?n_ctx: (?P<most>#))?",
        r"reduce the length of the messages or completion(\. current length is (?P<n>#) while limit is (?P<most>#))?",
        r"request \((?P<n>#) tokens\) exceeds the available context size \((?P<most>#)",
        r"requested tokens( \((?P<n>#)\))? exceed context window of (?P<most>#)",
        r"input length (?P<n>#) exceeds context length (?P<most>#)",
        r"range of input length should be \[#, ?(?P<most>#)\]",
        r"exceed(s|ed)? (the |max(imum)? )?(available |model's |model |maximum )?context (window|size|length)",
        r"prompt exceeds max(imum)? length|context[_ ](length|window)[_ ](is )?exceed(s|ed)",
        r"(prompt|input|request) (is )?too long",
    )
]
#: How many of all tokens are for the response.
_RESERVED = re.compile(r"(\d{1,15}) (tokens )?(in|for) the (completion|output)", re.IGNORECASE)


def overflow(status: int | None, error: ErrorBody) -> Overflow | None:
    """What an error says of it; ``None`` if it is about something else. ``status`` is ``None`` inside a response."""
    if error.message is None or status not in _STATUSES:
        return None
    found = next((found for pattern in _WORDS if (found := pattern.search(error.message))), None)
    if found is None:
        return None
    numbers = {name: int(number) for name, number in found.groupdict().items() if number is not None}
    limit = numbers.get("most", 0)
    if "n" in numbers:
        counts = _apart(numbers["n"], error.message)
    else:
        counts = numbers.get("input", 0), numbers.get("output", 0)
    if not limit < sum(counts):
        counts, limit = (_count(error.details.get("n_prompt_tokens")), 0), _count(error.details.get("n_ctx"))
    tokens, reserved = counts
    if 0 < limit < sum(counts):
        return Overflow(tokens=tokens, limit=limit, reserved=reserved if tokens <= limit else 0)
    return None if status == 500 else Overflow()


def _apart(tokens: int, message: str) -> tuple[int, int]:
    """Those of the input, and those that are reserved for the response, as far as the message tells."""
    found = _RESERVED.search(message)
    reserved = int(found[1]) if found is not None else 0
    return (tokens - reserved, reserved) if reserved < tokens else (tokens, 0)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
