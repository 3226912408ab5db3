"""A candidate's members other than its parts, in the forms of Gemini's clients and of OpenAI's.

The common events have no form of their own for a response's images, log probabilities and sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy_core import Carried, ChatEvent, Citation, JsonObject
from proxy_core.dialects.common import json_bytes
from proxy_plugin_gemini.dialect.citations import Cited, url_citations
from proxy_plugin_gemini.dialect.common import NAME, field

_OPENAI = "openai_chat"
_NAMED = frozenset("content finishReason index groundingMetadata logprobsResult tokenCount".split())


def candidate_extras(
    candidate: Mapping[str, Any], choice: int, text: Sequence[str], cited: set[Cited]
) -> Iterator[ChatEvent]:
    """Everything except content and finish reason. ``text`` is the candidate's so far, in pieces; to ``cited``, new
    sources are added."""
    rest = {k: v for k, v in candidate.items() if k not in _NAMED}
    grounding = candidate.get("groundingMetadata")
    if isinstance(grounding, Mapping):
        yield Citation(dialect=NAME, payload=grounding, choice=choice)
        for note in url_citations(grounding, "".join(text), cited):
            yield Citation(dialect=_OPENAI, payload=note, choice=choice)
    logprobs = candidate.get("logprobsResult")
    if isinstance(logprobs, Mapping):
        rest["logprobsResult"] = logprobs
        content = list(_logprobs(logprobs))
        if content:
            yield Carried(dialect=_OPENAI, payload={"logprobs": {"content": content, "refusal": None}}, choice=choice)
    if rest:
        yield Carried(dialect=NAME, payload={"candidate": rest}, choice=choice)


def code_text(part: Mapping[str, Any]) -> str | None:
    """Code that the model ran, or its output, as fenced text."""
    code, result = field(part, "executableCode"), field(part, "codeExecutionResult")
    if isinstance(code, Mapping):
        return f"\n```{str(code.get('language', '')).lower()}\n{code.get('code', '')}\n```\n"
    if isinstance(result, Mapping):
        return f"\n```\n{result.get('output', '')}\n```\n"
    return None


def hosted_note(part: Mapping[str, Any]) -> str | None:
    """What one of Google's own tools did, as a note: other models cannot read its parts, but should know of it."""
    for name, told in (("toolCall", "args"), ("toolResponse", "response")):
        if isinstance(found := field(part, name), Mapping):
            kind = str(field(found, "toolType") or name).lower()
            return f"\n[{kind}: {json_bytes(found.get(told) or {}).decode()}]\n"
    return code_text(part)


def _logprobs(result: Mapping[str, Any]) -> Iterator[JsonObject]:
    chosen, top = result.get("chosenCandidates"), result.get("topCandidates")
    for index, entry in enumerate(chosen if isinstance(chosen, list) else ()):
        others = top[index] if isinstance(top, list) and index < len(top) else None
        named = others.get("candidates") if isinstance(others, Mapping) else None
        yield {**_token(entry), "top_logprobs": [_token(o) for o in named] if isinstance(named, list) else []}


def _token(entry: object) -> JsonObject:
    found = entry if isinstance(entry, Mapping) else {}
    token = str(found.get("token", ""))
    return {"token": token, "logprob": found.get("logProbability", 0), "bytes": list(token.encode("utf-8", "replace"))}
