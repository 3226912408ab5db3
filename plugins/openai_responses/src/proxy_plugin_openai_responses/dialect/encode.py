"""Requests of the wire format ``openai_responses``: neutral values to the JSON that an upstream reads.

The whole conversation is sent with every request, and nothing is stored unless the client asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256

from proxy_core import BadRequest, ChatRequest, JsonObject, ReasoningOptions, ResponseFormat, Sampling
from proxy_core.dialects.common import without_none
from proxy_plugin_openai_responses.dialect.common import NAME
from proxy_plugin_openai_responses.dialect.encode_input import encode_input, unsent_parts
from proxy_plugin_openai_responses.dialect.encode_tools import encode_choice, encode_tools, unsent_tools

#: A smaller limit is refused.
_LEAST_TOKENS = 16
_LONGEST_USER = 64
_COMMON = "openai_chat"
#: Fields of OpenAI's chat format that have the same meaning here.
_SHARED = ("safety_identifier", "prompt_cache_retention", "prompt_cache_options", "moderation")
_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


def encode(chat: ChatRequest) -> JsonObject:
    """Convert neutral values to a body. Raises ``BadRequest`` naming what the format cannot express."""
    _check(chat)
    s = chat.sampling
    instructions, items = encode_input(chat)
    tools = encode_tools(chat)
    body = without_none(
        model=chat.model,
        instructions=instructions,
        input=items,
        stream=True if chat.stream else None,
        store=bool(chat.store),
        max_output_tokens=None if s.max_tokens is None else max(s.max_tokens, _LEAST_TOKENS),
        temperature=s.temperature,
        top_p=s.top_p,
        top_logprobs=s.top_logprobs if s.logprobs else None,
        tools=tools or None,
        tool_choice=encode_choice(chat, bool(tools)),
        parallel_tool_calls=chat.parallel_tool_calls if tools else None,
        text=_text(chat.response_format, chat.verbosity),
        reasoning=_reasoning(chat),
        include=_include(chat) or None,
        user=_user(chat.user),
        metadata=chat.metadata,
        service_tier=chat.service_tier,
        prompt_cache_key=chat.cache_key,
    )
    return {**_extra(chat), **body}


def _extra(chat: ChatRequest) -> JsonObject:
    if chat.dialect == NAME:
        return dict(chat.extra)
    shared = _SHARED if chat.dialect == _COMMON else ()
    return {name: chat.extra[name] for name in shared if chat.extra.get(name) is not None}


def _check(chat: ChatRequest) -> None:
    """Refuse what would change the response if it were left out."""
    s = chat.sampling
    if s.n is not None and s.n != 1:
        raise BadRequest("This model does not support 'n' above 1.", param="n", code="unsupported_parameter")
    if any(stop for stop in s.stop):
        raise BadRequest("This model does not support stop sequences.", param="stop", code="unsupported_parameter")
    if any(kind.lower() != "text" for kind in chat.modalities if isinstance(kind, str)):
        raise BadRequest("This model answers only in text.", param="modalities", code="unsupported_value")


def _text(wanted: ResponseFormat | None, verbosity: str | None) -> JsonObject | None:
    """A format that is text says nothing."""
    style: JsonObject | None = None
    if wanted is not None and wanted.kind == "json_schema" and wanted.schema is not None:
        style = without_none(
            type="json_schema",
            name=wanted.name or "reply",
            schema=wanted.schema,
            strict=wanted.strict,
            description=wanted.description,
        )
    elif wanted is not None and wanted.kind != "text":
        style = {"type": "json_object"}
    return without_none(format=style, verbosity=verbosity) or None


# --- Reasoning ---------------------------------------------------------------------------


def _wanted(chat: ChatRequest) -> ReasoningOptions | None:
    """The options; chat clients also send them as ``reasoning``, the member that this format has."""
    inside = chat.extra.get("reasoning")
    if chat.reasoning is None and isinstance(inside, Mapping) and isinstance(inside.get("effort"), str):
        return ReasoningOptions(effort=inside["effort"])
    return chat.reasoning


def _reasoning(chat: ChatRequest) -> JsonObject | None:
    wanted = _wanted(chat)
    if wanted is None:
        return None
    shown = wanted.include is True or (wanted.include is None and wanted.mode in ("on", "adaptive"))
    own = dict(wanted.extra) if chat.dialect == NAME else {}
    summary = wanted.summary or ("auto" if shown else None)
    return {**own, **without_none(effort=_effort(wanted), summary=summary)} or None


def _effort(wanted: ReasoningOptions) -> str | None:
    """``none`` is known to some models only, so a client that merely turns reasoning off gets the model's default."""
    if wanted.effort is not None or wanted.mode == "off" or not wanted.budget_tokens or wanted.budget_tokens < 0:
        return wanted.effort
    return "low" if wanted.budget_tokens <= 4096 else "medium" if wanted.budget_tokens <= 16384 else "high"


def _include(chat: ChatRequest) -> list[str]:
    """The encrypted reasoning, which a model without reasoning refuses to include, and log probabilities."""
    given = chat.extra.get("include") if chat.dialect == NAME else None
    include = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    wanted = _wanted(chat)
    if chat.dialect != NAME and wanted is not None and wanted.mode != "off" and wanted.effort != "none":
        include.append(_ENCRYPTED)
    if chat.sampling.logprobs and _LOGPROBS not in include:
        include.append(_LOGPROBS)
    return include


def _user(user: str | None) -> str | None:
    """A name that is too long is replaced by its hash, which is still the same for the same user."""
    if user is None or len(user) <= _LONGEST_USER:
        return user
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


# --- What is left out --------------------------------------------------------------------


def dropped(chat: ChatRequest) -> list[str]:
    """The advisory fields that :func:`encode` leaves out, by the names of OpenAI's chat format."""
    return list(
        dict.fromkeys([*_unsent_sampling(chat.sampling), *unsent_tools(chat), *unsent_parts(chat), *_rest(chat)])
    )


def _unsent_sampling(s: Sampling) -> Iterator[str]:
    for name in ("seed", "presence_penalty", "frequency_penalty", "logit_bias", "top_k"):
        if getattr(s, name):
            yield name


def _rest(chat: ChatRequest) -> Iterator[str]:
    sent = {*_extra(chat), "reasoning"}
    yield from (name for name, value in chat.extra.items() if name not in sent and value is not None)
