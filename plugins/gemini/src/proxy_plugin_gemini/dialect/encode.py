"""Requests of the wire format ``gemini``: the common form to the JSON of ``generateContent``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from proxy_core import BadRequest, ChatRequest, JsonObject, ReasoningOptions, ResponseFormat, Sampling
from proxy_core.dialects.common import without_none
from proxy_plugin_gemini.dialect.common import CARRIED_CONFIG, NAME, snake
from proxy_plugin_gemini.dialect.families import Family, family_of, thinking
from proxy_plugin_gemini.dialect.names import NameTable, name_table
from proxy_plugin_gemini.dialect.schema import clean_response, upper_types
from proxy_plugin_gemini.dialect.tools import encode_choice, encode_tools
from proxy_plugin_gemini.dialect.turns import Signatures, TurnWriter

_MAX_TOKENS = 65536
_MAX_STOPS = 5
#: Fields of other formats without one in the common form that this module reads.
_READ = frozenset({"google", "extra_body", "reasoning", "safety_settings"})
#: Members of a Gemini request that the common form has no field for.
_CARRIED = ("safetySettings", "cachedContent", "labels")


class Style(Struct, frozen=True, kw_only=True):
    """The differences between backends. ``schemas`` is the field for a function's parameters."""

    schemas: Literal["parametersJsonSchema", "parameters"] = "parametersJsonSchema"
    call_ids: bool = True


class Encoded(Struct, frozen=True, kw_only=True):
    """A request's body without its model.

    ``dropped`` are advisory fields, by the client's names, that Gemini has no counterpart for.
    ``names`` lets the response decoder restore the client's own function names.
    """

    body: JsonObject
    names: NameTable
    dropped: Sequence[str] = ()


class _Draft(Struct):
    chat: ChatRequest
    family: Family
    style: Style
    names: NameTable
    google: Mapping[str, Any]
    config: JsonObject = field(default_factory=dict)
    system: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def _unknown(call_id: str) -> None:
    return None


def translate(chat: ChatRequest, *, style: Style | None = None, signatures: Signatures = _unknown) -> Encoded:
    """Translate ``chat`` for the model it names. Raises ``BadRequest`` naming what cannot be expressed.

    ``signatures`` looks up signatures of calls that the client did not send back.
    """
    style = style or Style()
    model = chat.model.removeprefix("models/")
    draft = _Draft(chat, family_of(model), style, name_table(chat), _google(chat))
    writer = TurnWriter(draft.family, draft.names, signatures, style.call_ids)
    contents, draft.system = writer.contents(chat)
    tools = encode_tools(chat.tools, draft.names, style.schemas, draft.dropped)
    _sampling(draft, chat.sampling)
    _thinking(draft)
    _format(draft, chat.response_format, bool(tools))
    _modalities(draft)
    _advisory(draft)
    if not draft.family.has_system:
        contents, draft.system = _spoken(draft.system, contents), []
    body = without_none(
        contents=contents,
        systemInstruction={"parts": [{"text": text} for text in draft.system]} if draft.system else None,
        tools=tools or None,
        toolConfig=encode_choice(chat, draft.names, tools),
        generationConfig=draft.config or None,
        **_carried(draft),
    )
    return Encoded(body=body, names=draft.names, dropped=tuple(dict.fromkeys(draft.dropped)))


def _spoken(system: Sequence[str], contents: list[JsonObject]) -> list[JsonObject]:
    """``contents``, of which the first is the user's, beginning with the system message."""
    first, *others = contents
    return [{**first, "parts": [*({"text": text} for text in system), *first["parts"]]}, *others]


def encode(chat: ChatRequest) -> JsonObject:
    """For the dialect: the body with ``model`` added, which :func:`gemini.request_body` removes again."""
    return {"model": chat.model, **translate(chat).body}


def _google(chat: ChatRequest) -> Mapping[str, Any]:
    """Google's own extension of OpenAI requests, ``extra_body.google``, at whatever depth a client library left it."""
    found: Mapping[str, Any] = {}
    level: object = chat.extra
    for _ in range(3):
        if not isinstance(level, Mapping):
            break
        if isinstance(level.get("google"), Mapping):
            found = {**level["google"], **found}
        level = level.get("extra_body")
    return found


def _sampling(draft: _Draft, s: Sampling) -> None:
    config, family = draft.config, draft.family
    if s.max_tokens is not None and s.max_tokens < 1:
        raise BadRequest("'max_tokens' must be at least 1.", param="max_tokens", code="invalid_value")
    n = s.n if s.n != 1 else None
    if n is not None and (n < 1 or n > 8 or not family.candidates):
        raise BadRequest(f"This model does not support 'n' of {n}.", param="n", code="invalid_value")
    config |= without_none(
        temperature=None if s.temperature is None else min(max(s.temperature, 0), 2),
        topP=None if s.top_p is None else min(max(s.top_p, 0), 1),
        topK=s.top_k,
        maxOutputTokens=None if s.max_tokens is None else min(s.max_tokens, _MAX_TOKENS),
        candidateCount=n,
        seed=None if s.seed is None else _int32(s.seed),
    )
    stops = [stop for stop in dict.fromkeys(s.stop) if stop.strip()]
    if len(stops) > _MAX_STOPS:
        raise BadRequest(f"At most {_MAX_STOPS} stop sequences are allowed.", param="stop", code="invalid_value")
    if stops:
        config["stopSequences"] = stops
    penalties = without_none(presencePenalty=s.presence_penalty, frequencyPenalty=s.frequency_penalty)
    if family.penalties:
        config |= {name: min(max(value, -2), 1.99) for name, value in penalties.items()}
    else:
        draft.dropped += [snake(name) for name, value in penalties.items() if value]
    if family.logprobs:
        config |= without_none(responseLogprobs=s.logprobs or None, logprobs=s.top_logprobs if s.logprobs else None)
    elif s.logprobs:
        draft.dropped.append("logprobs")
    if s.logit_bias:
        draft.dropped.append("logit_bias")


def _int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def _thinking(draft: _Draft) -> None:
    chat, wanted = draft.chat, draft.chat.reasoning
    reasoning = chat.extra.get("reasoning")
    if wanted is None and isinstance(reasoning, Mapping) and isinstance(reasoning.get("effort"), str):
        wanted = ReasoningOptions(effort=reasoning["effort"])
    requested = draft.google.get("thinking_config")
    if isinstance(requested, Mapping):
        own = without_none(
            includeThoughts=requested.get("include_thoughts"),
            thinkingBudget=requested.get("thinking_budget"),
            thinkingLevel=requested.get("thinking_level"),
        )
        if isinstance(own.get("thinkingLevel"), str):
            own["thinkingLevel"] = own["thinkingLevel"].upper()
        draft.config["thinkingConfig"] = own
        return
    config = thinking(draft.family, wanted)
    if config is not None:
        draft.config["thinkingConfig"] = config
    elif wanted is not None and (wanted.effort or wanted.budget_tokens):
        draft.dropped.append("reasoning_effort")


def _format(draft: _Draft, wanted: ResponseFormat | None, tools: bool) -> None:
    if wanted is None or (wanted.kind == "text" and wanted.media_type is None):
        return
    if wanted.kind == "text":
        draft.config["responseMimeType"] = wanted.media_type
    schema = None if wanted.schema is None else clean_response(wanted.schema)
    if tools and wanted.kind != "text" and not draft.family.format_with_tools:
        # 2.5 and earlier refuse a format together with functions; if the prompt asks for it, they mostly comply.
        form = "" if schema is None else f" that follows this JSON Schema: {json.dumps(schema, ensure_ascii=False)}"
        draft.system.append(f"When you do not call a function, answer only with JSON{form}.")
        return
    if wanted.kind != "text":
        draft.config["responseMimeType"] = wanted.media_type or "application/json"
    if schema is not None:
        plain = draft.style.schemas == "parametersJsonSchema"
        draft.config["responseJsonSchema" if plain else "responseSchema"] = schema if plain else upper_types(schema)


def _modalities(draft: _Draft) -> None:
    wanted = [m.upper() for m in draft.chat.modalities if isinstance(m, str)]
    if draft.chat.dialect == NAME or not wanted or wanted == ["TEXT"]:
        return
    if "AUDIO" in wanted and "tts" not in draft.chat.model and "audio" not in draft.chat.model:
        raise BadRequest("This model cannot produce audio.", param="modalities", code="invalid_value")
    draft.config["responseModalities"] = wanted


def _advisory(draft: _Draft) -> None:
    """Drop advisory fields that have no counterpart, without an error."""
    chat = draft.chat
    draft.dropped += [
        name
        for name, value in (
            ("parallel_tool_calls", chat.parallel_tool_calls is False and bool(chat.tools)),
            *(("verbosity", chat.verbosity), ("user", chat.user), ("metadata", chat.metadata), ("store", chat.store)),
            *(("service_tier", chat.service_tier), ("prompt_cache_key", chat.cache_key)),
            *((name, name not in _READ and chat.dialect != NAME) for name in chat.extra),
        )
        if value
    ]


def _carried(draft: _Draft) -> JsonObject:
    """A Gemini client's own fields, and the extensions with which an OpenAI client expresses the same."""
    extra = draft.chat.extra
    out: JsonObject = {}
    if draft.chat.dialect == NAME:
        out = {name: extra[name] for name in _CARRIED if extra.get(name) is not None}
        config = extra.get("generationConfig")
        if isinstance(config, Mapping):
            draft.config |= {k: v for k, v in config.items() if k in CARRIED_CONFIG and k not in draft.config}
    safety = extra.get("safety_settings") or draft.google.get("safety_settings")
    if isinstance(safety, list):
        out["safetySettings"] = safety
    cached = draft.google.get("cached_content")
    if isinstance(cached, str):
        out["cachedContent"] = cached
    return out
