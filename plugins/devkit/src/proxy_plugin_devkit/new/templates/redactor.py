"""Example for proxy-core: a redactor that removes what matches a pattern from records."""

import re
from collections.abc import Iterable

from pydantic import Field

from proxy_core import JsonObject, PluginContext, PluginInfo, PluginSettings, Redactor, hookimpl


class ExampleSettings(PluginSettings):
    """``[plugins.example]``; ``PROXY_PLUGINS__EXAMPLE__<KEY>`` overrides the file."""

    pattern: str = Field(r"\bEMP-\d{6}\b", description="A regular expression for what no record may contain.")


PLUGIN = PluginInfo(name="example", api=1, settings=ExampleSettings)


@hookimpl
def proxy_redactors(ctx: PluginContext) -> Iterable[Redactor]:
    return [example(ctx.settings(ExampleSettings).pattern)]


def example(pattern: str) -> Redactor:
    compiled = re.compile(pattern)

    def clean(value: object) -> object:
        if isinstance(value, str):
            return compiled.sub("[redacted]", value)
        if isinstance(value, dict):
            return {key: clean(member) for key, member in value.items()}
        return [clean(member) for member in value] if isinstance(value, list) else value

    def redact(record: JsonObject) -> JsonObject:
        return {key: clean(value) for key, value in record.items()}

    return Redactor(name="example", redact=redact)
