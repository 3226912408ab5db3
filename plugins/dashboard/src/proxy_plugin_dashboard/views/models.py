"""Models: what clients see, with limits and prices, and a box to try one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from proxy_core import PageResponse
from proxy_plugin_dashboard.own_calls import Refused, ask
from proxy_plugin_dashboard.page import Asked, Page, fragment
from proxy_plugin_dashboard.trying import MAX_PROMPT, Answer, chat_body
from proxy_plugin_dashboard.views.models_model import models_model, problems_of, without_account


async def show(asked: Asked) -> Mapping[str, object]:
    problem = ""
    try:
        listed = (await ask(asked.request, "/v1/models"))["data"]
        lists = (await ask(asked.request, "/admin/models"))["processes"]
    except Refused as refused:
        listed, lists, problem = [], [], str(refused)
    problems = problems_of(asked.statuses, lists)
    model = await asyncio.to_thread(models_model, listed, problems, asked.query)
    return {
        "models": model,
        "problem": problem,
        "idle": without_account(asked.statuses),
        "chosen": asked.query.get("model", ""),
    }


async def attempt(asked: Asked) -> PageResponse:
    """``POST /admin/ui/models/try``: the answer of a model, as it arrives."""
    model, prompt = asked.form.get("model", "").strip(), asked.form.get("prompt", "")
    if not model or not prompt.strip():
        return await fragment("notice.html", 400, good=False, text="Choose a model and write a question.", more=())
    if len(prompt) > MAX_PROMPT:
        text = f"The question is too long for this box: at most {MAX_PROMPT:,} characters."
        return await fragment("notice.html", 400, good=False, text=text, more=())
    body = Answer(asked.request, chat_body(model, prompt))
    headers = {"x-accel-buffering": "no"}
    return PageResponse(content_type="text/event-stream; charset=utf-8", body=body, headers=headers)


PAGE = Page(name="models", title="Models", show=show, post={"try": attempt})
