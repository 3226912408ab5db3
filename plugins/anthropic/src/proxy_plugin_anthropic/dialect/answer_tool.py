"""Structured output of models that cannot be held to a JSON Schema: the input of a tool that they have to call."""

from __future__ import annotations

from proxy_core import ChatRequest, HostedTool, JsonObject, ToolCall
from proxy_core.dialects.common import without_none
from proxy_plugin_anthropic.dialect.common import NAME
from proxy_plugin_anthropic.dialect.families import family_of
from proxy_plugin_anthropic.dialect.tool_schema import input_schema

TOOL = "json_response"


def answers_by_tool(chat: ChatRequest) -> bool:
    """Not with other tools, between which the model has to be free to choose; and the input of a tool is an object."""
    wanted, family = chat.response_format, family_of(chat.model)
    if wanted is None or wanted.kind != "json_schema" or family.formats or not family.answers_by_tool:
        return False
    schema = wanted.schema or {}
    parts = (part for message in chat.messages for part in message.parts)
    return (
        chat.dialect != NAME
        and schema.get("type") == "object"
        and all(isinstance(tool, HostedTool) and tool.dialect != NAME for tool in chat.tools)
        and not any(isinstance(part, ToolCall) and part.name == TOOL for part in parts)
    )


def answer_tool(chat: ChatRequest) -> tuple[JsonObject, JsonObject] | None:
    """The tool, and the choice that forces it; ``None`` if the model answers in a text."""
    wanted = chat.response_format
    if wanted is None or not answers_by_tool(chat):
        return None
    about = without_none(name=TOOL, description=wanted.description or "Takes the whole answer.")
    choice = {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}
    return {**about, "input_schema": input_schema(wanted.schema or {})}, choice
