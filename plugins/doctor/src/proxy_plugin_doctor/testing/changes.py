"""What a plugin would change in a request, a response and a record: names of fields, never their values."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeVar

from msgspec import Struct
from pydantic import SecretStr

from proxy_core import (
    ChatEvent,
    Credential,
    Dialect,
    Finish,
    Provider,
    ProviderCall,
    ProxyError,
    ProxyRequest,
    Redactor,
    Sanitizer,
    TextDelta,
    UpstreamRequest,
    load_object,
)
from proxy_core.cli.api import Plugin, address, changed_fields
from proxy_core.dialects import openai_chat

T = TypeVar("T")
_WORDS = "You are Ann, ann@example.com, and your key is sk-proj-0123456789abcdef01."
#: So many calls over budget in a row open a circuit breaker; one alone may be the machine's doing.
_SLOW_CALLS = 3


class Change(Struct, frozen=True, kw_only=True):
    """What one call did. ``seconds`` is its time; of calls over budget, that of the fastest of those that were made."""

    text: str
    seconds: float
    budget_s: float | None

    @property
    def over_budget(self) -> bool:
        return self.budget_s is not None and self.seconds > self.budget_s

    def __str__(self) -> str:
        more = f", over the budget of {self.budget_s:g} s" if self.over_budget else ""
        return f"{self.text} ({self.seconds * 1000:.2f} ms{more})"


class Trial(Struct, frozen=True, kw_only=True):
    """A request in OpenAI's chat format, the dialects that there are, and the time that a call may take."""

    body: Mapping[str, Any]
    dialects: Sequence[Dialect]
    budget_s: float | None

    def changes(self, plugin: Plugin) -> Iterator[Change]:
        """One for each object of the plugin that sees requests, responses or records."""
        sanitizers: Sequence[Sanitizer] = plugin.provided.get("proxy_sanitizers", ())
        yield from (self._of_request(one) for one in sanitizers if one.request is not None)
        yield from (self._of_response(one) for one in sanitizers if one.events is not None)
        yield from map(self._of_record, plugin.provided.get("proxy_redactors", ()))
        for provider in plugin.provided.get("proxy_providers", ()):
            yield from self._of_provider(provider)

    def _of_request(self, sanitizer: Sanitizer) -> Change:
        call, request = sanitizer.request, self._request()
        assert call is not None
        changed, took = self._timed(lambda: call(request))
        who = f"sanitizer {sanitizer.name}"
        if isinstance(changed, Exception):
            return self._change(f"{who} refuses the request: {_refusal(changed)}", took)
        if not isinstance(changed, ProxyRequest):
            return self._change(f"{who} returns {_kind(changed)} instead of a request", took)
        return self._change(f"{who} changes in the request: {_named(changed_fields(self.body, changed.body))}", took)

    def _of_response(self, sanitizer: Sanitizer) -> Change:
        events = sanitizer.events
        assert events is not None

        def filtered() -> list[ChatEvent] | None:
            found = events(self._request())
            if found is None:
                return None
            given: list[ChatEvent] = [TextDelta(text=_WORDS), Finish(reason="stop")]
            return [*(event for one in given for event in found.feed(one)), *found.close()]

        out, took = self._timed(filtered)
        who = f"sanitizer {sanitizer.name}"
        if isinstance(out, Exception):
            return self._change(f"{who} ends the response: {_refusal(out)}", took)
        if out is None:
            return self._change(f"{who} leaves the response alone", took)
        text = "".join(event.text for event in out if isinstance(event, TextDelta))
        what = "nothing" if text == _WORDS else "its text" if text else "its text, of which nothing is left"
        return self._change(f"{who} changes in the response: {what}", took)

    def _of_record(self, redactor: Redactor) -> Change:
        record = {
            "id": "r",
            "status": 200,
            "request": {"body": dict(self.body)},
            "response": {"body": {"text": _WORDS}},
        }
        changed, took = self._timed(lambda: redactor.redact(copy.deepcopy(record)))
        who = f"redactor {redactor.name}"
        if isinstance(changed, Exception):
            return self._change(f"{who} fails, so that records are withheld: {type(changed).__name__}", took)
        if not isinstance(changed, dict):
            return self._change(f"{who} returns {_kind(changed)} instead of a record", took)
        return self._change(f"{who} changes: {_named(changed_fields(record, changed))}", took)

    def _of_provider(self, provider: Provider) -> Iterator[Change]:
        """Where it sends, and what a request of a client has become on the way."""
        who, (call, took) = f"provider {provider.name}", _timed(lambda: self._call(provider))
        if isinstance(call, Exception):
            yield self._change(f"{who} does not get the request: {type(call).__name__}", took)
            return
        credential = Credential(
            id="c0ffee00",
            provider=provider.name,
            kind=provider.credential_kind,
            secret=SecretStr("none"),
            label="check",
        )
        sent, took = self._timed(lambda: provider.encode(call, credential))
        if isinstance(sent, UpstreamRequest):
            yield self._change(f"{who} sends to {sent.url.partition('?')[0]}", took)
            yield self._change(f"{who} changes in the request: {_sent(call, sent)}", took)
            return
        yield self._change(f"{who} sends to {address(provider) or 'an address that it decides itself'}", took)
        yield self._change(f"{who} cannot encode the request: {_refusal(sent)}", took)

    def _call(self, provider: Provider) -> ProviderCall:
        """As the core makes it: in the first dialect of the provider that is there, or neutral."""
        body = {**copy.deepcopy(dict(self.body)), "model": "model"}
        chat, stream = openai_chat.decode(body), bool(body.get("stream"))
        known = {dialect.name: dialect for dialect in self.dialects}
        name = next((name for name in provider.dialects if name in known), None)
        encode = known[name].encode if name and name != "openai_chat" else None
        return ProviderCall(dialect=name, body=encode(chat) if encode else body, chat=chat, stream=stream)

    def _request(self) -> ProxyRequest:
        given, model = copy.deepcopy(dict(self.body)), str(self.body.get("model", ""))
        stream = bool(given.get("stream"))
        return ProxyRequest(id="r", client="check", dialect="openai_chat", model=model, stream=stream, body=given)

    def _change(self, text: str, seconds: float) -> Change:
        return Change(text=text, seconds=seconds, budget_s=self.budget_s)

    def _timed(self, call: Callable[[], T]) -> tuple[T | Exception, float]:
        result, took = _timed(call)
        for _ in range(_SLOW_CALLS - 1):
            if self.budget_s is None or took <= self.budget_s:
                break
            took = min(took, _timed(call)[1])
        return result, took


def _timed(call: Callable[[], T]) -> tuple[T | Exception, float]:
    began = perf_counter()
    result: T | Exception
    try:
        result = call()
    except Exception as error:  # a plugin may raise anything; it is what is shown
        result = error
    took = perf_counter() - began
    if inspect.iscoroutine(result):
        result.close()
    return result, took


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _refusal(found: object) -> str:
    """The words of the core's errors are for clients; those of others may have anything in them."""
    return str(found) if isinstance(found, ProxyError) else type(found).__name__


def _sent(call: ProviderCall, sent: UpstreamRequest) -> str:
    """The fields that are not what the client sent, in the format that the provider speaks."""
    body = load_object(sent.content)
    if body is None:
        return "everything: it is not JSON"
    dropped = f"; dropped: {', '.join(sent.dropped)}" if sent.dropped else ""
    headers = f"; headers: {_named(name for name, _ in sent.headers)}"
    if call.dialect is None:
        return f"everything, in a format of its own: {_named(body)}{dropped}{headers}"
    return _named(changed_fields(call.body, body)) + dropped + headers


def _named(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
