"""Requests of the wire format ``gemini``: JSON of ``generateContent`` to the common form. Errors name the field.

Google's clients write camel case, and pass on what their users write in snake case, so both are read.
"""

from __future__ import annotations

from proxy_core import (
    BadRequest,
    ChatRequest,
    FunctionTool,
    HostedTool,
    JsonObject,
    Message,
    Native,
    ReasoningOptions,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
)
from proxy_core.dialects.common import (
    missing,
    optional_bool,
    optional_float,
    optional_int,
    optional_str,
    require_model,
    wrong_type,
)
from proxy_core.dialects.shapes import check_shape
from proxy_plugin_gemini.dialect.common import CARRIED_CONFIG, NAME, field, snake
from proxy_plugin_gemini.dialect.decode_parts import decode_contents, decode_system
from proxy_plugin_gemini.dialect.schema_plain import plain_schema
from proxy_plugin_gemini.dialect.shape import request_shape

_CARRIED = ("safetySettings", "cachedContent", "labels", "serviceTier", "toolConfig", "generationConfig")
_CONFIG = (
    "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty frequencyPenalty "
    "responseLogprobs logprobs responseMimeType responseSchema responseJsonSchema responseModalities thinkingConfig "
    "mediaResolution speechConfig imageConfig audioTimestamp routingConfig modelSelectionConfig"
).split()
_AT = "generationConfig."
_CHOICES = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for a body that no upstream could read; the rest is left to the upstream."""
    require_model(body)
    contents = body.get("contents")
    if contents is None:
        raise missing("contents")
    if not isinstance(contents, list) or not contents:
        raise wrong_type("contents", "a non-empty array")
    for index, content in enumerate(contents):
        if not isinstance(content, dict):
            raise wrong_type(f"contents[{index}]", "an object")
        if not isinstance(content.get("parts"), list | None):
            raise wrong_type(f"contents[{index}].parts", "an array")


def decode(body: JsonObject) -> ChatRequest:
    """Decode a checked body, with ``model`` and ``stream`` from its path, to the common form."""
    check_shape(body, request_shape())
    config = generation_config(body)
    extra = {name: value for name in _CARRIED if (value := _carried(name, field(body, name)))}
    messages = [*decode_system(field(body, "systemInstruction")), *decode_contents(body["contents"])]
    if "cachedContent" in extra:
        # Another format would drop the field, and with it content that the model needs; this part prevents that.
        cached = Native(dialect=NAME, payload={"type": "cachedContent", "cachedContent": extra["cachedContent"]})
        messages.insert(0, Message(role="system", parts=[cached]))
    return ChatRequest(
        model=require_model(body),
        messages=messages,
        dialect=NAME,
        stream=body.get("stream") is True,
        include_usage=True,
        tools=_tools(body.get("tools")),
        tool_choice=_choice(field(body, "toolConfig")),
        response_format=_format(config),
        reasoning=_reasoning(config.get("thinkingConfig")),
        sampling=_sampling(config),
        extra=extra,
    )


def _carried(name: str, value: object) -> object:
    """What the common form has no field for."""
    if name == "generationConfig" and isinstance(value, dict):
        return {key: found for key in CARRIED_CONFIG if (found := field(value, key)) is not None}
    if name == "toolConfig" and isinstance(value, dict):
        return {key: found for key, found in value.items() if snake(key) != "function_calling_config"}
    return value


def generation_config(body: JsonObject) -> JsonObject:
    """``generationConfig`` with its known members in camel case."""
    found = field(body, "generationConfig")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise wrong_type("generationConfig", "an object")
    return {name: value for name in _CONFIG if (value := field(found, name)) is not None}


def _sampling(config: JsonObject) -> Sampling:
    stop = config.get("stopSequences") or []
    if not isinstance(stop, list) or not all(isinstance(s, str) for s in stop):
        raise wrong_type("generationConfig.stopSequences", "an array of strings")
    return Sampling(
        max_tokens=optional_int(config, "maxOutputTokens", _AT),
        temperature=optional_float(config, "temperature", _AT),
        top_p=optional_float(config, "topP", _AT),
        top_k=optional_int(config, "topK", _AT),
        stop=tuple(stop),
        seed=optional_int(config, "seed", _AT),
        presence_penalty=optional_float(config, "presencePenalty", _AT),
        frequency_penalty=optional_float(config, "frequencyPenalty", _AT),
        logprobs=optional_bool(config, "responseLogprobs", _AT),
        top_logprobs=optional_int(config, "logprobs", _AT),
        n=optional_int(config, "candidateCount", _AT),
    )


def _reasoning(found: object) -> ReasoningOptions | None:
    """Thoughts are included only on request. A budget of -1 lets the model choose; 0 means no thinking."""
    if found is None:
        return None
    if not isinstance(found, dict):
        raise wrong_type("generationConfig.thinkingConfig", "an object")
    budget = field(found, "thinkingBudget")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int)):
        raise wrong_type("generationConfig.thinkingConfig.thinkingBudget", "an integer")
    level = field(found, "thinkingLevel")
    effort = level.lower() if isinstance(level, str) and level != "THINKING_LEVEL_UNSPECIFIED" else None
    include = field(found, "includeThoughts") is True
    if budget == 0:
        return ReasoningOptions(effort=effort or "none", budget_tokens=0, include=include)
    if budget is not None and budget < 0:
        return ReasoningOptions(effort=effort, mode="adaptive", include=include)
    return ReasoningOptions(effort=effort or _effort(budget), budget_tokens=budget, include=include)


def _effort(budget: int | None) -> str | None:
    """A budget as an effort, for services that have no budgets."""
    if budget is None:
        return None
    return "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"


def _format(config: JsonObject) -> ResponseFormat | None:
    kind = optional_str(config, "responseMimeType", _AT)
    if kind is None or kind == "text/plain":
        return None
    schema = _schema(config.get("responseJsonSchema"), config.get("responseSchema"))
    if kind == "application/json":
        if schema is None:
            return ResponseFormat(kind="json_object")
        return ResponseFormat(kind="json_schema", name="reply", schema=schema)
    return ResponseFormat(kind="text", media_type=kind, schema=schema)


def _tools(found: object) -> list[Tool]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise wrong_type("tools", "an array")
    tools: list[Tool] = []
    for index, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise wrong_type(f"tools[{index}]", "an object")
        functions = field(entry, "functionDeclarations") or []
        if not isinstance(functions, list):
            raise wrong_type(f"tools[{index}].functionDeclarations", "an array")
        tools += [_function(f, f"tools[{index}].functionDeclarations[{n}]") for n, f in enumerate(functions)]
        rest = {k: v for k, v in entry.items() if k not in ("functionDeclarations", "function_declarations")}
        tools += [HostedTool(dialect=NAME, payload={name: value}) for name, value in rest.items() if value is not None]
    return tools


def _function(found: object, at: str) -> FunctionTool:
    if not isinstance(found, dict):
        raise wrong_type(at, "an object")
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"Missing required parameter: '{at}.name'.", param=f"{at}.name")
    schema = _schema(field(found, "parametersJsonSchema"), found.get("parameters"))
    return FunctionTool(name=name, description=optional_str(found, "description", f"{at}."), parameters=schema)


def _schema(json_schema: object, own: object) -> JsonObject | None:
    """Gemini CLI sends Google's own ``Schema``, with its upper-case types, as if it were a JSON Schema."""
    if isinstance(json_schema, dict):
        return plain_schema(json_schema) if str(json_schema.get("type", "")).isupper() else json_schema
    return plain_schema(own) if isinstance(own, dict) else None


def _choice(found: object) -> ToolChoice | None:
    config = field(found, "functionCallingConfig") if isinstance(found, dict) else None
    if not isinstance(config, dict):
        return None
    mode = str(config.get("mode") or "AUTO").upper()
    if mode == "MODE_UNSPECIFIED":
        return None
    if mode not in _CHOICES:
        raise BadRequest(
            f"'toolConfig.functionCallingConfig.mode' {mode!r} is not known.", param="toolConfig", code="invalid_value"
        )
    names = field(config, "allowedFunctionNames") or []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise wrong_type("toolConfig.functionCallingConfig.allowedFunctionNames", "an array of strings")
    kind = _CHOICES[mode]
    if kind == "required":
        return ToolChoice(mode="required", names=tuple(names))
    return ToolChoice(mode="none") if kind == "none" else ToolChoice(mode="auto", names=tuple(names))
