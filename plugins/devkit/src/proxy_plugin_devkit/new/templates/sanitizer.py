"""Example for proxy-core: a sanitizer that hides words in requests and responses."""

import re
from collections.abc import Iterable

from pydantic import Field

from proxy_core import (
    EventFilter,
    PluginContext,
    PluginInfo,
    PluginSettings,
    ProxyRequest,
    Sanitizer,
    TextFilter,
    hookimpl,
)


class ExampleSettings(PluginSettings):
    """``[plugins.example]``; ``PROXY_PLUGINS__EXAMPLE__<KEY>`` overrides the file."""

    words: list[str] = Field(default_factory=list, description="Words that nobody is to see.")


PLUGIN = PluginInfo(name="example", api=1, settings=ExampleSettings)
#: The members of requests, of whatever format, that have texts in them.
TEXTS = frozenset("messages content text system instructions input contents parts prompt".split())


@hookimpl
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    words = [word for word in ctx.settings(ExampleSettings).words if word]
    return [example(words)] if words else []


def example(words: list[str]) -> Sanitizer:
    pattern = re.compile("|".join(map(re.escape, words)))
    longest = max(map(len, words))

    def request(request: ProxyRequest) -> ProxyRequest:
        body = {name: _hidden(value, pattern) if name in TEXTS else value for name, value in request.body.items()}
        return request.with_body(body)

    def events(request: ProxyRequest) -> EventFilter:
        return TextFilter(pattern, "***", hold=longest)  # it holds back what may be the beginning of a word

    return Sanitizer(name="example", request=request, events=events)


def _hidden(value: object, pattern: re.Pattern[str]) -> object:
    """A copy with the words hidden; what the client sent is never changed in place."""
    if isinstance(value, str):
        return pattern.sub("***", value)
    if isinstance(value, dict):
        return {name: _hidden(member, pattern) if name in TEXTS else member for name, member in value.items()}
    return [_hidden(member, pattern) for member in value] if isinstance(value, list) else value
