"""What the backend refuses in a request, in the order of its checks. A refusal is the message of its 400."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SENTINEL = "skip_thought_signature_validator"
_REQUEST = frozenset(
    (
        "contents systemInstruction cachedContent tools toolConfig labels safetySettings generationConfig session_id"
    ).split()
)
_PUBLIC = _REQUEST - {"session_id"} | {"model"}
_CONFIG = frozenset(
    (
        "temperature topP topK maxOutputTokens candidateCount stopSequences seed presencePenalty frequencyPenalty"
        " responseLogprobs logprobs responseMimeType responseSchema responseJsonSchema thinkingConfig"
        " responseModalities mediaResolution speechConfig imageConfig audioTimestamp routingConfig modelSelectionConfig"
    ).split()
)
_DATA = frozenset(
    (
        "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult toolCall"
        " toolResponse"
    ).split()
)
_PART = _DATA | {"thought", "thoughtSignature", "videoMetadata", "mediaResolution"}
_DECLARATION = frozenset(
    "name description parameters parametersJsonSchema response responseJsonSchema behavior".split()
)
_SCHEMA = frozenset(
    (
        "type format title description nullable enum items minItems maxItems properties minProperties maxProperties"
        " required propertyOrdering minimum maximum minLength maxLength pattern example default anyOf"
    ).split()
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_NO_MINIMAL = ("gemini-3-pro", "gemini-3.1-pro", "gemini-3.7-flash", "gemini-3.8-flash")


class Refused(Exception):
    """A 400."""


def check(request: Mapping[str, Any], model: str, signatures: frozenset[str] | set[str], *, public: bool) -> None:
    """Raises ``Refused`` with the backend's message."""
    _keys(request, _PUBLIC if public else _REQUEST, "request")
    _no_nulls(request, "request")
    _contents(request.get("contents"))
    _calls(request["contents"], model, signatures)
    declared = _tools(request.get("tools"))
    _choice(request.get("toolConfig"), declared)
    _config(request.get("generationConfig"), model, bool(declared))
    system = request.get("systemInstruction")
    if system is not None and not all(set(part) == {"text"} for part in system["parts"]):
        raise Refused("systemInstruction accepts only text parts")
    categories = [setting["category"] for setting in request.get("safetySettings", ())]
    if len(set(categories)) != len(categories):
        raise Refused("safety_settings: a category appears twice")


def _keys(found: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in found:
        if name not in known:
            raise Refused(f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field.")


def _no_nulls(value: Any, where: str) -> None:
    inside: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        inside = iter(value.items())
    elif isinstance(value, list):
        inside = iter(enumerate(value))
    for name, inner in inside:
        if name in ("args", "response", "default", "parametersJsonSchema", "responseJsonSchema"):
            continue
        if inner is None:
            raise Refused(f"null at {where}.{name}")
        _no_nulls(inner, f"{where}.{name}")


def _contents(contents: Any) -> None:
    if not isinstance(contents, list) or not contents:
        raise Refused("GenerateContentRequest.contents: contents is not specified")
    if contents[0].get("role") != "user":
        raise Refused("Please ensure that the first content is of role user.")
    before = None
    for at, content in enumerate(contents):
        _keys(content, frozenset({"role", "parts"}), f"contents[{at}]")
        if content.get("role") not in ("user", "model"):
            raise Refused("Please use a valid role: user, model.")
        if content["role"] == before:
            raise Refused("Please ensure that turns alternate.")
        before = content["role"]
        if not content.get("parts"):
            raise Refused(f"contents[{at}].parts must not be empty")
        for part in content["parts"]:
            _part(part, f"contents[{at}].parts")


def _part(part: Mapping[str, Any], where: str) -> None:
    _keys(part, _PART, where)
    if len(_DATA & part.keys()) != 1:
        raise Refused(f"{where}: required oneof field 'data' must have one initialized field")
    if part.get("text") == "" and "thoughtSignature" not in part:
        raise Refused(f"{where}: empty text")
    if "inlineData" in part:
        data = part["inlineData"]
        try:
            base64.b64decode(data["data"], validate=True)
        except (binascii.Error, ValueError, KeyError):
            raise Refused(f"{where}.inline_data: Base64 decoding failed") from None
        if "/" not in data.get("mimeType", ""):
            raise Refused(f"{where}: unsupported MIME type")
    if "functionResponse" in part:
        if not isinstance(part["functionResponse"].get("response"), dict):
            raise Refused(f"{where}.function_response.response: must be an object")
        if "thoughtSignature" in part:
            raise Refused(f"{where}: a function response has no signature")
    if "functionCall" in part and not isinstance(part["functionCall"].get("args", {}), dict):
        raise Refused(f"{where}.function_call.args: must be an object")


def _calls(contents: Sequence[Mapping[str, Any]], model: str, signatures: frozenset[str] | set[str]) -> None:
    """Calls must be followed directly by as many results, in order; on Gemini 3, the first call must be signed."""
    asked: list[Mapping[str, Any]] = []
    last_user = max(
        (n for n, c in enumerate(contents) if c["role"] == "user" and any("text" in part for part in c["parts"])),
        default=-1,
    )
    for at, content in enumerate(contents):
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        answers = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        if content["role"] == "user" and len(answers) != len(asked):
            raise Refused(
                "Please ensure that the number of function response parts is equal to the number of function call parts"
                " of the function call turn."
            )
        for call, answer in zip(asked, answers, strict=True) if content["role"] == "user" else ():
            if call["name"] != answer["name"] or call.get("id") != answer.get("id"):
                raise Refused("function response does not match its call")
        if content["role"] == "model":
            asked = calls
        if calls and re.match(r"gemini-3", model) and at > last_user:
            first = next(part for part in content["parts"] if "functionCall" in part)
            signed = first.get("thoughtSignature")
            if signed != SENTINEL and signed not in signatures:
                raise Refused(f"Function call `{first['functionCall']['name']}` is missing a thought_signature.")
    if contents[-1]["role"] == "model" and asked:
        raise Refused("Please ensure that function call turn is followed by function response.")


def _tools(tools: Any) -> list[str]:
    names: list[str] = []
    for tool in tools or ():
        _keys(tool, frozenset({"functionDeclarations", "googleSearch", "urlContext", "codeExecution"}), "tools")
        for declared in tool.get("functionDeclarations", ()):
            _keys(declared, _DECLARATION, "tools.function_declarations")
            if not _NAME.fullmatch(declared.get("name", "")):
                raise Refused("Invalid function name. Must start with a letter or an underscore.")
            if "parameters" in declared and "parametersJsonSchema" in declared:
                raise Refused("only one of parameters and parameters_json_schema may be set")
            for form in ("parameters", "parametersJsonSchema"):
                if form in declared:
                    check_schema(declared[form], root=True)
            names.append(declared["name"])
    if len(set(names)) != len(names):
        raise Refused("Duplicate function declaration found")
    return names


def check_schema(schema: Any, *, root: bool = False, depth: int = 0) -> None:
    """Check a schema against the ``Schema`` message. Raises ``Refused``."""
    if depth > 40:
        raise Refused("schema too deep")
    if not isinstance(schema, dict):
        raise Refused("a schema must be an object")
    _keys(schema, _SCHEMA, "parameters")
    kind = schema.get("type")
    if root and str(kind).lower() != "object":
        raise Refused("parameters schema should be of type OBJECT")
    if kind is not None and not isinstance(kind, str):
        raise Refused("type must be a string")
    if "anyOf" in schema:
        for branch in schema["anyOf"]:
            check_schema(branch, depth=depth + 1)
    elif kind is None:
        raise Refused("a schema without a type")
    if str(kind).lower() == "object" and "properties" in schema and not schema["properties"]:
        raise Refused("properties: should be non-empty for OBJECT type")
    if str(kind).lower() == "array" and "items" not in schema:
        raise Refused("items: missing field.")
    if "enum" in schema and not all(isinstance(value, str) and value for value in schema["enum"]):
        raise Refused("enum: only non-empty strings")
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in properties:
            raise Refused(f"required: property is not defined: {name}")
    for inner in properties.values():
        check_schema(inner, depth=depth + 1)
    if "items" in schema:
        check_schema(schema["items"], depth=depth + 1)


def _choice(config: Any, declared: Sequence[str]) -> None:
    choice = (config or {}).get("functionCallingConfig", {})
    if config is not None and not declared:
        raise Refused("Function calling config is set without function_declarations.")
    names = choice.get("allowedFunctionNames", ())
    if names and choice.get("mode") not in ("ANY", "VALIDATED"):
        raise Refused("allowed_function_names should only be set when mode is ANY")
    if any(name not in declared for name in names):
        raise Refused("allowed_function_names contains an undeclared function")


def _config(config: Any, model: str, tools: bool) -> None:
    if config is None:
        return
    _keys(config, _CONFIG, "generation_config")
    modern = re.match(r"gemini-(2\.5|[3-9])", model) is not None
    if modern and (config.get("presencePenalty") or config.get("frequencyPenalty")):
        raise Refused(f"Penalty is not enabled for models/{model}")
    if len(config.get("stopSequences", ())) > 5:
        raise Refused("stop_sequences: at most 5")
    thinking = config.get("thinkingConfig", {})
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        raise Refused("You can only set one of thinking budget and thinking level")
    if thinking.get("thinkingLevel") == "MINIMAL" and model.startswith(_NO_MINIMAL):
        raise Refused("Thinking level MINIMAL is not supported for this model.")
    if tools and config.get("responseMimeType") == "application/json" and model.startswith("gemini-2"):
        raise Refused("Function calling with a response mime type: 'application/json' is unsupported")
    if {"responseSchema", "responseJsonSchema"} & config.keys() and config.get(
        "responseMimeType"
    ) != "application/json":
        raise Refused("response_schema needs response_mime_type application/json")
