"""What is wrong with what a plugin's function returned, in words that follow "returned"; empty if nothing is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from proxy_core.dialects.common import json_bytes
from proxy_core.interfaces import FailureDecision, ModelInfo, OperationResponse, PageResponse, ProxyRequest, TokenCount
from proxy_core.messages import CHAT_EVENTS, JsonObject, TextDelta, UpstreamRequest, UsageReport
from proxy_core.plugins.faults import described, with_article
from proxy_core.plugins.fields import wrong_error, wrong_field, wrong_number

_TOKENS = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]*")
#: What no header's value may contain; anything else is sent as UTF-8.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_ADDRESS = re.compile(r"https?://([^/?#@\s]*@)?(\[[\da-f:.]+\]|[^/?#@:\[\]\s]+)(:(?P<port>\d{0,5}))?([/?#]|$)", re.I)
#: Of a provider with sockets of its own, which a replay does not use.
_OWN_ADDRESS = re.compile(r"(?!https?:)[a-z][a-z\d+.-]*:(//|[a-z])", re.I)
#: The same in a response of a page or an operation.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_JSON = (str, int, float, dict, list, tuple, type(None))


def request_problem(result: object) -> str:
    """An encoder returned something else than a request, or one that cannot be sent."""
    if not isinstance(result, UpstreamRequest):
        return f"{described(result)}, not UpstreamRequest"
    if what := _field_problem(result) or _header_problem(result.headers):
        return f"an UpstreamRequest {what}"
    return ""


def address_problem(result: object) -> str:
    """The same for a request that the core sends."""
    what = request_problem(result)
    if what or not isinstance(result, UpstreamRequest):
        return what
    address = _ADDRESS.match(result.url)
    if address is None and _OWN_ADDRESS.match(result.url):
        return ""
    if address is None or int(address["port"] or 0) > 65_535:
        return "an UpstreamRequest whose url is not a complete http or https address"
    return ""


def _field_problem(result: UpstreamRequest) -> str:
    if not isinstance(result.content, bytes):
        return f"whose content is {described(result.content)}, not bytes"
    if not isinstance(result.url, str):
        return f"whose url is {described(result.url)}, not str"
    if not isinstance(result.method, str):
        return f"whose method is {described(result.method)}, not str"
    if not isinstance(result.headers, list | tuple):
        return f"whose headers are {described(result.headers)}, not a list of pairs"
    if isinstance(result.dropped, str) or not isinstance(result.dropped, Collection):
        return f"whose dropped is {described(result.dropped)}, not a list of str"
    return ""


def _header_problem(headers: Sequence[tuple[str, str]]) -> str:
    try:  # for every request: the fewest calls
        names = "".join([name for name, _ in headers])
        values = "".join([value for _, value in headers])
    except (TypeError, ValueError):
        return "with a header that is not a pair of str"
    if not _TOKENS.fullmatch(names):
        return "with a header whose name is not valid"
    if not (values.isascii() and values.isprintable()) and _CONTROLS.search(values):
        name = next(name for name, value in headers if _CONTROLS.search(value))
        return f"whose header {name!r} contains a line break or another control character"
    return ""


def sanitized_problem(given: ProxyRequest, result: ProxyRequest) -> str:
    """What is wrong with the body that a sanitizer returned; empty if nothing is. Only changed parts are checked."""
    if not isinstance(result.body, dict):
        return f"a ProxyRequest whose body is {described(result.body)}, not a dict"
    if not isinstance(model := result.body.get("model", ""), str):
        return f"a ProxyRequest whose body.model is {described(model)}, not str"
    what = _no_json(given.body, result.body)
    return f"a ProxyRequest whose {what}" if what else ""


def _no_json(before: JsonObject, after: JsonObject) -> str:
    pending: list[tuple[str, Any, Any]] = [("body", before, after)]
    while pending:
        path, old, new = pending.pop()
        if old is new:
            continue
        if not isinstance(new, _JSON):
            return f"{path} is {described(new)}, which is no JSON"
        if isinstance(new, dict):
            if wrong := [name for name in new if not isinstance(name, str)]:
                return f"{path} has a name that is {described(wrong[0])}, not str"
            known = old if isinstance(old, dict) else {}
            pending += [(f"{path}.{name}", known.get(name), value) for name, value in new.items()]
        elif isinstance(new, list | tuple):
            same = isinstance(old, list) and len(old) == len(new)
            pending += [(f"{path}[{n}]", old[n] if same else None, value) for n, value in enumerate(new)]
    return ""


def dialects_problem(result: object, known: Collection[str]) -> str:
    if isinstance(result, str) or not isinstance(result, Collection):
        return f"{described(result)}, not a list of dialects"
    unknown = [one for one in result if not isinstance(one, str) or one not in known]
    if not unknown:
        return ""
    which = repr(unknown[0]) if isinstance(unknown[0], str) else described(unknown[0])
    return f"a list with {which}, which is no dialect"


def decision_problem(result: object) -> str:
    if not isinstance(result, FailureDecision):
        return f"{described(result)}, not FailureDecision"
    if what := wrong_field(result):
        return what
    if what := wrong_error(result.error):
        return f"a FailureDecision whose error has {what}"
    seconds = next(filter(None, map(wrong_number, (result.cooldown_s, *result.back_off_s))), "")
    return f"a FailureDecision with a cooldown of {seconds} s" if seconds else ""


def listener_problem(result: object) -> str:
    return "" if result is None or callable(result) else f"{described(result)}, not a function"


def decoder_problem(result: object) -> str:
    if isinstance(result, type):
        return f"{described(result)}, not a decoder"
    # The class first: a property of it is not called here.
    names = ("feed", "close", "ended")
    missing = [name for name in names if not hasattr(type(result), name) and not hasattr(result, name)]
    return f"{described(result)} without {missing[0]!r}, not a decoder" if missing else ""


def events_problem(result: object) -> str:
    if not isinstance(result, list | tuple):
        return f"{described(result)}, not a list of events"
    for event in result:
        if type(event) is TextDelta and type(event.text) is str and type(event.choice) is int:
            continue  # nearly all of them
        if type(event) not in CHAT_EVENTS:
            return f"a list with {described(event)}, which is no event"
        if what := wrong_field(event):
            return f"a list with {what}"
        if type(event) is UsageReport and (what := wrong_field(event.usage)):
            return f"a list with {what}"
    return ""


def filter_problem(result: object) -> str:
    if result is None or (hasattr(result, "feed") and hasattr(result, "close") and not isinstance(result, type)):
        return ""
    return f"{described(result)}, not an event filter or None"


def count_problem(result: object) -> str:
    if result is None:
        return ""
    if not isinstance(result, TokenCount):
        return f"{described(result)}, not TokenCount or None"
    if what := wrong_field(result):
        return what
    tokens = wrong_number(result.tokens)
    return f"a TokenCount of {tokens} tokens" if tokens else ""


def info_problem(result: object) -> str:
    if result is None:
        return ""
    return wrong_field(result) if isinstance(result, ModelInfo) else f"{described(result)}, not ModelInfo or None"


def answer_problem(result: object) -> str:
    if not isinstance(result, OperationResponse):
        return f"{described(result)}, not OperationResponse"
    if what := wrong_field(result) or _head_problem(result, result.headers):
        return what
    try:
        json_bytes(result.body)
    except Exception as error:  # an object of the plugin's may fail in any way
        return f"an OperationResponse whose body is no JSON ({type(error).__name__})"
    return ""


def page_problem(result: object) -> str:
    if not isinstance(result, PageResponse):
        return f"{described(result)}, not PageResponse"
    if what := wrong_field(result):
        return what
    if not isinstance(result.body, bytes) and not (
        hasattr(result.body, "__aiter__") and hasattr(result.body, "aclose")
    ):
        return f"a PageResponse whose body is {described(result.body)}, neither bytes nor a stream"
    return _head_problem(result, [*result.headers.items(), ("content-type", result.content_type)])


def _head_problem(result: OperationResponse | PageResponse, headers: Iterable[tuple[str, str]]) -> str:
    """``result`` has a status or a header that HTTP cannot carry."""
    name = with_article(type(result).__name__)
    if not 200 <= result.status <= 599:
        return f"{name} with a status of {result.status}"
    try:
        bad = [key for key, value in headers if not (_HEADER_NAME.fullmatch(key) and _HEADER_VALUE.fullmatch(value))]
    except (TypeError, ValueError):
        return f"{name} with a header that is not a pair of str"
    return f"{name} whose header {bad[0]!r} cannot be sent" if bad else ""
