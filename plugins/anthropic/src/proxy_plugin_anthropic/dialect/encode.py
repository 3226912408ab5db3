"""Requests of ``anthropic_messages``: the common form to the JSON of ``/v1/messages``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct, field

from proxy_core import BadRequest, ChatRequest, JsonObject, ReasoningOptions
from proxy_core.dialects.common import without_none
from proxy_plugin_anthropic.dialect.answer_tool import answer_tool
from proxy_plugin_anthropic.dialect.common import MAKER, NAME
from proxy_plugin_anthropic.dialect.families import Family, family_of
from proxy_plugin_anthropic.dialect.format_schema import format_schema
from proxy_plugin_anthropic.dialect.names import NameTable, name_table
from proxy_plugin_anthropic.dialect.thinking import thinking_of
from proxy_plugin_anthropic.dialect.tools import encode_choice, encode_tools
from proxy_plugin_anthropic.dialect.turns import TurnWriter

_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
#: Fields of OpenAI's requests that ask for something else than the model's words.
_REFUSED_EXTRA = ("audio",)
#: Fields of other formats without one in the common form that this module reads.
_READ_EXTRA = frozenset({"cache_control", "reasoning", "safety_identifier", "thinking"})


class Encoded(Struct, frozen=True, kw_only=True):
    """A request's body. ``dropped`` are advisory fields, by the client's names, that this format lacks.

    ``names`` lets the response decoder restore the client's own names of tools.
    """

    body: JsonObject
    names: NameTable
    dropped: Sequence[str] = ()


class _Draft(Struct):
    chat: ChatRequest
    family: Family
    names: NameTable
    body: JsonObject = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    system: list[JsonObject] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def encode(chat: ChatRequest) -> JsonObject:
    return translate(chat).body


def translate(chat: ChatRequest, maker: str = MAKER) -> Encoded:
    """Translate ``chat`` for the model it names. Raises ``BadRequest`` naming what cannot be expressed.

    Only thoughts that ``maker`` has signed are sent: all others are refused.
    """
    draft = _Draft(chat, family_of(chat.model), name_table(chat))
    writer = TurnWriter(chat, draft.names, maker)
    messages = writer.messages()
    draft.system = writer.system
    tools, choice = encode_choice(chat, draft.names, encode_tools(chat, draft.names, draft.dropped))
    answer = answer_tool(chat)
    if answer is not None:
        tools, choice = [answer[0]], answer[1]
    else:
        _format(draft)
    _refuse(chat)
    _thinking(draft, messages, choice)
    _sampling(draft)
    _advisory(draft)
    own = chat.extra if chat.dialect == NAME else extra_members(chat.extra)
    body = without_none(
        model=chat.model,
        max_tokens=_limit(draft),
        messages=messages,
        system=draft.system or None,
        stream=True if chat.stream else None,
        tools=list(tools) or None,
        tool_choice=choice,
        output_config=draft.config or None,
        **draft.body,
    )
    return Encoded(body={**own, **body}, names=draft.names, dropped=tuple(dict.fromkeys(draft.dropped)))


def extra_members(extra: Mapping[str, Any]) -> JsonObject:
    """Of other formats' clients, the one top-level member that they can mean for this API."""
    mark = extra.get("cache_control")
    return {"cache_control": mark} if isinstance(mark, Mapping) else {}


def _limit(draft: _Draft) -> int:
    """The API requires a limit; without the client's, it is what every model of the family can write."""
    wanted = draft.chat.sampling.max_tokens
    if wanted is not None and wanted < 1:
        raise BadRequest("'max_tokens' must be at least 1.", param="max_tokens", code="invalid_value")
    return draft.family.max_tokens if wanted is None else wanted


def _refuse(chat: ChatRequest) -> None:
    """Fields without which the response would be another one than the client asked for."""
    s = chat.sampling
    wrong = [
        *(["n"] if s.n not in (None, 1) else []),
        *(["logprobs"] if s.logprobs else []),
        *(["modalities"] if any(m != "text" for m in chat.modalities) and chat.dialect != NAME else []),
        *(name for name in _REFUSED_EXTRA if chat.dialect != NAME and chat.extra.get(name)),
    ]
    if wrong:
        raise BadRequest(f"This model does not support {wrong[0]!r}.", param=wrong[0], code="unsupported_parameter")


def _thinking(draft: _Draft, messages: Sequence[JsonObject], choice: JsonObject | None) -> None:
    """The caller's forced call, and a turn that lost its thoughts, exclude thinking; the API refuses both together."""
    wanted = _wanted(draft.chat)
    thinking, effort = thinking_of(draft.family, wanted, _limit(draft))
    forced = choice is not None and choice["type"] in ("any", "tool")
    if thinking is not None and (forced or (thinking["type"] == "enabled" and not _leads(messages))):
        draft.dropped.append("reasoning_effort")
        thinking = None
    elif thinking is None and effort is None and wanted is not None and wanted.effort not in (None, "none"):
        draft.dropped.append("reasoning_effort")
    if thinking is not None:
        draft.body["thinking"] = thinking
    if effort is not None:
        draft.config["effort"] = effort


def _wanted(chat: ChatRequest) -> ReasoningOptions | None:
    """The client's wish, also in the forms that OpenAI's clients use for other services."""
    if chat.reasoning is not None or chat.dialect == NAME:
        return chat.reasoning
    match chat.extra:
        case {"thinking": {"type": "enabled", "budget_tokens": int(budget)}}:
            return ReasoningOptions(budget_tokens=budget)
        case {"thinking": {"type": "enabled" | "adaptive"}}:
            return ReasoningOptions(effort="medium")
        case {"reasoning": {"effort": str(effort)}}:
            return ReasoningOptions(effort=effort)
        case {"reasoning": {"max_tokens": int(budget)}}:
            return ReasoningOptions(budget_tokens=budget)
        case _:
            return None


def _leads(messages: Sequence[JsonObject]) -> bool:
    """Whether a turn that waits for results begins with its thoughts; true if none waits."""
    if len(messages) < 2 or not any(block["type"] == "tool_result" for block in messages[-1]["content"]):
        return True
    first: JsonObject = messages[-2]["content"][0]
    return first["type"] in ("thinking", "redacted_thinking")


def _sampling(draft: _Draft) -> None:
    s, family, thinks = draft.chat.sampling, draft.family, "thinking" in draft.body
    wanted = without_none(
        temperature=None if s.temperature is None else min(max(s.temperature, 0), 1),
        top_p=None if s.top_p is None else min(max(s.top_p, 0), 1),
        top_k=s.top_k if s.top_k is not None and s.top_k > 0 else None,
    )
    for name, value in list(wanted.items()):
        both = family.one_sampler and name == "top_p" and "temperature" in wanted
        while_thinking = thinks and not (name == "top_p" and value >= 0.95)
        if not family.sampling or both or while_thinking:
            del wanted[name]
            if value != 1:
                draft.dropped.append(name)
    draft.body |= wanted
    stops = [stop for stop in dict.fromkeys(s.stop) if stop.strip()]
    if stops:
        draft.body["stop_sequences"] = stops
    if len(stops) < len(set(s.stop)):
        draft.dropped.append("stop")


def _format(draft: _Draft) -> None:
    """A schema that the API cannot hold the model to becomes an instruction, which models mostly follow."""
    wanted = draft.chat.response_format
    if wanted is None or wanted.kind == "text":
        return
    schema = wanted.schema if wanted.kind == "json_schema" else None
    if schema is not None and draft.family.formats:
        exact = dict(schema) if draft.chat.dialect == NAME else format_schema(schema)
        if exact is not None:
            draft.config["format"] = {"type": "json_schema", "schema": exact}
            return
    if schema is not None and draft.chat.tools:  # between which and the format the model is free to choose
        draft.dropped.append("response_format")
    form = "" if schema is None else f" that follows this JSON Schema: {json.dumps(schema, ensure_ascii=False)}"
    text = f"Answer only with a JSON value{form}. Write nothing before or after it."
    draft.system.append({"type": "text", "text": text})


def _advisory(draft: _Draft) -> None:
    """Fields that have no counterpart are dropped without an error."""
    chat, s = draft.chat, draft.chat.sampling
    tier = _TIERS.get(chat.service_tier) if chat.service_tier is not None else None
    user = chat.user or chat.extra.get("safety_identifier")
    draft.body |= without_none(
        service_tier=tier, metadata={"user_id": _user(user)} if isinstance(user, str) and user else None
    )
    draft.dropped += [
        name
        for name, value in (
            *(("seed", s.seed is not None), ("logit_bias", s.logit_bias)),
            *(("presence_penalty", s.presence_penalty), ("frequency_penalty", s.frequency_penalty)),
            *(("verbosity", chat.verbosity), ("metadata", chat.metadata), ("store", chat.store)),
            *(("service_tier", chat.service_tier and tier is None), ("prompt_cache_key", chat.cache_key)),
        )
        if value
    ]
    if chat.dialect != NAME:
        draft.dropped += [name for name, value in chat.extra.items() if name not in _READ_EXTRA and value is not None]


def _user(user: str) -> str:
    """The API asks for ids that do not identify a person."""
    if "@" not in user and len(user) <= 256:
        return user
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
