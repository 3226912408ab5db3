"""What a plugin would change in a request, a response and a record: names of fields, never their values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from proxy_core import ChatEvent, Finish, ProxyRequest, Redactor, Sanitizer, TextDelta
from proxy_core.cli.api import Plugin, address, changed_fields

T = TypeVar("T")
_WORDS = "You are Ann, ann@example.com, and your key is sk-proj-0123456789abcdef01."


def changes(plugin: Plugin, body: Mapping[str, Any]) -> list[str]:
    """A line for each object of the plugin that sees requests, responses or records."""
    lines = [_of_request(s, body) for s in plugin.provided.get("proxy_sanitizers", ()) if s.request is not None]
    lines += [_of_response(s, body) for s in plugin.provided.get("proxy_sanitizers", ()) if s.events is not None]
    lines += [_of_record(redactor, body) for redactor in plugin.provided.get("proxy_redactors", ())]
    for provider in plugin.provided.get("proxy_providers", ()):
        place, took = _timed(partial(address, provider))
        lines.append(f"provider {provider.name} sends to {place or 'an address that it decides itself'} ({took})")
    return lines


def _of_request(sanitizer: Sanitizer, body: Mapping[str, Any]) -> str:
    call = sanitizer.request
    assert call is not None
    request = _request(body)
    changed, took = _timed(lambda: call(request))
    if isinstance(changed, Exception):
        return f"sanitizer {sanitizer.name} refuses the request: {type(changed).__name__} ({took})"
    fields = list(changed_fields(body, changed.body)) if isinstance(changed, ProxyRequest) else ["everything"]
    return f"sanitizer {sanitizer.name} changes in the request: {', '.join(fields) or 'nothing'} ({took})"


def _of_response(sanitizer: Sanitizer, body: Mapping[str, Any]) -> str:
    events = sanitizer.events
    assert events is not None

    def filtered() -> list[ChatEvent] | None:
        found = events(_request(body))
        if found is None:
            return None
        given: list[ChatEvent] = [TextDelta(text=_WORDS), Finish(reason="stop")]
        return [*(event for one in given for event in found.feed(one)), *found.close()]

    out, took = _timed(filtered)
    if isinstance(out, Exception):
        return f"sanitizer {sanitizer.name} ends the response: {type(out).__name__} ({took})"
    if out is None:
        return f"sanitizer {sanitizer.name} leaves the response alone ({took})"
    same = "".join(event.text for event in out if isinstance(event, TextDelta)) == _WORDS
    return f"sanitizer {sanitizer.name} changes in the response: {'nothing' if same else 'its text'} ({took})"


def _of_record(redactor: Redactor, body: Mapping[str, Any]) -> str:
    record = {"id": "r", "status": 200, "request": {"body": dict(body)}, "response": {"body": {"text": _WORDS}}}
    changed, took = _timed(lambda: redactor.redact(copy.deepcopy(record)))
    if isinstance(changed, Exception):
        return f"redactor {redactor.name} fails, so that records are withheld: {type(changed).__name__} ({took})"
    return f"redactor {redactor.name} changes: {', '.join(changed_fields(record, changed)) or 'nothing'} ({took})"


def _request(body: Mapping[str, Any]) -> ProxyRequest:
    given, model = copy.deepcopy(dict(body)), str(body.get("model", ""))
    stream = bool(given.get("stream"))
    return ProxyRequest(id="r", client="check", dialect="openai_chat", model=model, stream=stream, body=given)


def _timed(call: Callable[[], T]) -> tuple[T | Exception, str]:
    began = perf_counter()
    result: T | Exception
    try:
        result = call()
    except Exception as error:  # a plugin may raise anything; it is what is shown
        result = error
    return result, f"{(perf_counter() - began) * 1000:.2f} ms"
