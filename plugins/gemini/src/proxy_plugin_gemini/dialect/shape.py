"""The types of a request's documented members. What a function's schema or arguments have is the client's own."""

from __future__ import annotations

from functools import cache
from typing import Any

from proxy_core.dialects.shapes import many, shape
from proxy_plugin_gemini.dialect.common import snake

_NUMBER = int | float
_NUMBERS = (
    "temperature topP topK candidateCount maxOutputTokens seed presencePenalty frequencyPenalty logprobs"
).split()


@cache  # when it is needed: a proxy that only relays has no use for it
def request_shape() -> Any:
    function = _both(
        name=str, description=str, parameters=dict, parametersJsonSchema=dict, response=dict, responseJsonSchema=dict
    )
    calling = _both(mode=str, allowedFunctionNames=list[str])
    return _both(
        contents=many(_both(role=str, parts=many(_part()))),
        systemInstruction=str | _both(parts=many(_part()) | _part()),
        tools=many(_both(functionDeclarations=many(function))),
        toolConfig=_both(functionCallingConfig=calling),
        generationConfig=_both(
            stopSequences=list[str],
            responseLogprobs=bool,
            responseMimeType=str,
            responseSchema=dict,
            responseJsonSchema=dict | bool,
            responseModalities=list[str],
            thinkingConfig=_both(includeThoughts=bool, thinkingBudget=_NUMBER, thinkingLevel=str),
            **dict.fromkeys(_NUMBERS, _NUMBER),
        ),
        safetySettings=many(dict),
        cachedContent=str,
        labels=dict[str, str],
        serviceTier=str,
    )


@cache
def _part() -> Any:
    media = {
        "inlineData": _both(mimeType=str, data=str, displayName=str),
        "fileData": _both(mimeType=str, fileUri=str, displayName=str),
    }
    return _both(
        text=str,
        thought=bool,
        thoughtSignature=str,
        functionCall=_both(id=str, name=str, args=dict),
        functionResponse=_both(id=str, name=str, response=dict, parts=many(_both(**media))),
        **media,
    )


def _both(**members: Any) -> Any:
    """Each member by its name in camel case and in snake case."""
    return shape(**members, **{other: kind for name, kind in members.items() if (other := snake(name)) != name})
