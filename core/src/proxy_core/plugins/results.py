"""What is wrong with what a plugin's function returned, in words that follow "returned"; empty if nothing is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from proxy_core.interfaces import ProxyRequest
from proxy_core.messages import JsonObject, UpstreamRequest
from proxy_core.plugins.faults import described

_TOKENS = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]*")
#: What no header's value may contain; anything else is sent as UTF-8.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_ADDRESS = re.compile(r"https?://([^/?#@\s]*@)?(\[[\da-f:.]+\]|[^/?#@:\[\]\s]+)(:(?P<port>\d{0,5}))?([/?#]|$)", re.I)
#: Of a provider with sockets of its own, which a replay does not use.
_OWN_ADDRESS = re.compile(r"(?!https?:)[a-z][a-z\d+.-]*:(//|[a-z])", re.I)
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
    """A sanitizer returned a request whose body is none. Only what it changed is looked at."""
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
