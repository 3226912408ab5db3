"""A chat request as this vendor wants it: OpenAI's body, with the deviations of qwen-code.md section 6. Pure.

Each deviation is a small function with its reason; :func:`mended` puts them in order. The body is
the provider's own copy at its top level only: what lies deeper is copied before it is changed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from proxy_core import JsonObject, ReasoningOptions
from proxy_plugin_qwen_code.caching import mark_for_cache
from proxy_plugin_qwen_code.catalogue import (
    BUDGETS,
    EFFORTS,
    HIGH_RESOLUTION,
    LOGIN_MODEL,
    METADATA,
    MOST_BUDGET,
    OFF,
    OLD_LOGIN_MODELS,
    Family,
    family_of,
    matches,
)
from proxy_plugin_qwen_code.hosts import Target
from proxy_plugin_qwen_code.messages import for_vendor
from proxy_plugin_qwen_code.settings import QwenCodeSettings
from proxy_plugin_qwen_code.tools import DUMMY, cleaned

#: Known to OpenAI only; proxies found them refused or without effect (6.1).
DROPS = ("store", "service_tier", "prediction", "background")


def mended(
    body: JsonObject,
    target: Target,
    settings: QwenCodeSettings,
    reasoning: ReasoningOptions | None,
    always: Container[str] = (),
) -> JsonObject:
    """``reasoning`` is what a client of another dialect asked for; a budget has no field in OpenAI's.

    ``always`` are models that turned out never to stop thinking.
    """
    if target.login and body.get("model") in OLD_LOGIN_MODELS:
        body["model"] = LOGIN_MODEL  # the host knows the old ids no more (7.1)
    model = str(body.get("model", ""))
    family = family_of(model)
    if model in always:
        family = replace(family, always=True)
    _drop(body, model)
    _limit(body, family)
    body["messages"] = for_vendor(body.get("messages") or [], one_system=target.login)
    _tools(body, target, settings, model)
    _think(body, family, reasoning)
    # Open-weight models think only while streaming (6.4): always stream, the core makes one reply of it.
    body["stream"] = True
    body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if target.dashscope:
        # So that reasoning_content in the history counts (6.1).
        body.setdefault("preserve_thinking", True)
        if matches(model, HIGH_RESOLUTION):
            body.setdefault("vl_high_resolution_images", True)
        if settings.cache_control:
            mark_for_cache(body, model)
    return body


def _drop(body: JsonObject, model: str) -> None:
    if "max_completion_tokens" in body:  # known under the older name only
        body.setdefault("max_tokens", body.pop("max_completion_tokens"))
    for key in DROPS:
        body.pop(key, None)
    if isinstance(body.get("user"), Mapping):
        del body["user"]
    if "omni" not in model:
        body.pop("modalities", None)
    if not matches(model, METADATA):
        body.pop("metadata", None)


def _limit(body: JsonObject, family: Family) -> None:
    most, asked = family.max_output, body.get("max_tokens")
    if most is None:
        return
    if asked is None or (isinstance(asked, int) and asked > most):
        body["max_tokens"] = most


# --- Thinking ----------------------------------------------------------------------------


def _think(body: JsonObject, family: Family, reasoning: ReasoningOptions | None) -> None:
    """The client's effort, budget or ``thinking`` in the family's own fields (6.4)."""
    if family.thinking == "as sent":
        return
    effort, budget, on = _asked(body, reasoning)
    forced = body.get("tool_choice") == "required" or isinstance(body.get("tool_choice"), Mapping)
    if family.thinking == "none":
        return
    if forced and on is None and not family.always:
        on = False  # a forced tool is refused while it thinks: nobody asked for thinking
    elif forced and on is not False:
        del body["tool_choice"]  # thinking was asked for: the vendor's own client drops the force, too
    if on is False:
        if not family.always:
            body["enable_thinking"] = False
    elif family.thinking == "effort":
        if effort or budget:
            body["reasoning_effort"] = EFFORTS.get(effort, "") or _effort_of(budget)
    elif on:
        body["enable_thinking"] = True
        if budget or effort:
            body["thinking_budget"] = budget or BUDGETS.get(effort, MOST_BUDGET)


def _asked(body: JsonObject, reasoning: ReasoningOptions | None) -> tuple[str, int | None, bool | None]:
    """An effort, a budget, and whether to think at all; taken out of the body, whichever fields said it."""
    effort = body.pop("reasoning_effort", None)
    budget = body.pop("thinking_budget", None)
    on = body.pop("enable_thinking", None)
    thinking = body.pop("thinking", None)  # Anthropic's and LiteLLM's
    if isinstance(thinking, Mapping):
        budget = budget or thinking.get("budget_tokens")
        on = on if on is not None else {"enabled": True, "disabled": False}.get(str(thinking.get("type")))
    if reasoning is not None:
        effort, budget = effort or reasoning.effort, budget or reasoning.budget_tokens
        on = on if on is not None else {"on": True, "adaptive": True, "off": False}.get(reasoning.mode or "")
    word = effort.lower() if isinstance(effort, str) else ""
    tokens = budget if isinstance(budget, int) and budget > 0 else None  # else a 400 (6.4)
    if on is None and (word or tokens):
        on = word not in OFF
    return word, tokens, on if isinstance(on, bool) else None


def _effort_of(budget: int | None) -> str:
    if budget is None:
        return "medium"
    return next((word for word in ("low", "medium", "high") if budget <= BUDGETS[word]), "xhigh")


# --- Tools -------------------------------------------------------------------------------


def _tools(body: JsonObject, target: Target, settings: QwenCodeSettings, model: str) -> None:
    if not body.get("tools"):
        for key in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(key, None)
        if settings.dummy_tool and target.login and model == LOGIN_MODEL:
            # Without any tool this model put foreign tokens into the stream (6.5).
            body["tools"] = [DUMMY]
        return
    tools: list[Any] = body["tools"]
    body["tools"] = [cleaned(tool) if isinstance(tool, dict) else tool for tool in tools]
