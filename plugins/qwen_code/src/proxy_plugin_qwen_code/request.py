"""A chat request in the form this vendor requires: OpenAI's body with the deviations of qwen-code.md section 6. Pure.

Each deviation is a small function with its reason; :func:`adapted` applies them in order. Only the top level of
the body is the provider's own copy: deeper values are copied before they are changed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from msgspec.structs import replace

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

#: Only OpenAI knows these; other proxies found that this vendor refuses or ignores them (6.1).
DROPS = ("store", "service_tier", "prediction", "background")


def adapted(
    body: JsonObject,
    target: Target,
    settings: QwenCodeSettings,
    reasoning: ReasoningOptions | None,
    always: Container[str] = (),
) -> JsonObject:
    """``reasoning`` is what a client of another dialect requested; OpenAI's dialect has no field for a budget.

    ``always`` are the models that have turned out to always think.
    """
    if target.login and body.get("model") in OLD_LOGIN_MODELS:
        body["model"] = LOGIN_MODEL  # the host no longer knows the old ids (7.1)
    model = str(body.get("model", ""))
    family = family_of(model)
    if model in always:
        family = replace(family, always=True)
    _drop(body, model)
    _limit(body, family)
    body["messages"] = for_vendor(body.get("messages") or [], one_system=target.login)
    _tools(body, target, settings, model)
    _think(body, family, reasoning)
    # Open-weight models think only while streaming (6.4), so always stream; the core assembles a single response.
    body["stream"] = True
    body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if target.dashscope:
        # Makes the vendor use reasoning_content in the history (6.1).
        body.setdefault("preserve_thinking", True)
        if matches(model, HIGH_RESOLUTION):
            body.setdefault("vl_high_resolution_images", True)
        if settings.cache_control:
            mark_for_cache(body, model)
    return body


def _drop(body: JsonObject, model: str) -> None:
    if "max_completion_tokens" in body:  # the vendor knows only the older name
        limit = body.pop("max_completion_tokens")
        body.update({"max_tokens": limit} if limit is not None else {})
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
    """Express the client's effort, budget or ``thinking`` in the family's own fields (6.4)."""
    if family.thinking == "as sent":
        return
    effort, budget, on = _asked(body, reasoning)
    forced = body.get("tool_choice") == "required" or isinstance(body.get("tool_choice"), Mapping)
    if family.thinking == "none":
        return
    if forced and on is None and not family.always:
        on = False  # the vendor refuses a forced tool with thinking on, and the client did not ask to think
    elif forced and on is not False:
        del body[
            "tool_choice"
        ]  # the client asked for thinking: the vendor's own client also drops the forced tool then
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
    """An effort, a budget, and whether to think at all; removes from the body the fields that say so."""
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
    tokens = budget if isinstance(budget, int) and budget > 0 else None  # anything else would get a 400 (6.4)
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
            # Without any tool, this model has put stray tokens into the stream (6.5).
            body["tools"] = [DUMMY]
        return
    tools = body["tools"]
    if isinstance(tools, list):
        body["tools"] = [cleaned(tool) if isinstance(tool, dict) else tool for tool in tools]
