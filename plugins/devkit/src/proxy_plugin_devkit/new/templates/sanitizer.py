"""Example for proxy-core: a sanitizer that hides words in requests and responses."""

import re
from collections.abc import Iterable

from pydantic import Field

from proxy_core import (
    ChatEvent,
    EventFilter,
    Finish,
    JsonObject,
    PluginContext,
    PluginInfo,
    PluginSettings,
    ProxyRequest,
    Sanitizer,
    TextDelta,
    hookimpl,
)


class ExampleSettings(PluginSettings):
    """``[plugins.example]``; ``PROXY_PLUGINS__EXAMPLE__<KEY>`` overrides the file."""

    words: list[str] = Field(default_factory=list, description="Words that nobody is to see.")


PLUGIN = PluginInfo(name="example", api=1, settings=ExampleSettings)


@hookimpl
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    words = ctx.settings(ExampleSettings).words
    return [example(words)] if words else []


def example(words: list[str]) -> Sanitizer:
    pattern = re.compile("|".join(map(re.escape, words)))
    longest = max(map(len, words))

    def request(request: ProxyRequest) -> ProxyRequest:
        return request.with_body(_hidden(request.body, pattern))

    def events(request: ProxyRequest) -> EventFilter:
        return _Hiding(pattern, longest)

    return Sanitizer(name="example", request=request, events=events)


def _hidden(body: JsonObject, pattern: re.Pattern[str]) -> JsonObject:
    """A copy, with the words hidden in the text of messages."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    return {**body, "messages": [_message(message, pattern) for message in messages]}


def _message(message: object, pattern: re.Pattern[str]) -> object:
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return message
    return {**message, "content": pattern.sub("***", message["content"])}


class _Hiding:
    """Holds back as many characters as may be the beginning of a word."""

    def __init__(self, pattern: re.Pattern[str], longest: int) -> None:
        self._pattern = pattern
        self._hold = longest - 1
        self._held = ""

    def feed(self, event: ChatEvent) -> list[ChatEvent]:
        if not isinstance(event, TextDelta):
            return [*self.close(), event] if isinstance(event, Finish) else [event]
        text = self._held + event.text
        whole = [match.end() for match in self._pattern.finditer(text)]
        end = max([len(text) - self._hold, *whole])
        said, self._held = text[: max(end, 0)], text[max(end, 0) :]
        return self._text(said)

    def close(self) -> list[ChatEvent]:
        held, self._held = self._held, ""
        return self._text(held)

    def _text(self, text: str) -> list[ChatEvent]:
        return [TextDelta(text=self._pattern.sub("***", text))] if text else []
