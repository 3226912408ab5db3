"""Each call of a plugin in the debug log: its time, and the names of what it changed."""

import logging

import proxy_core
from proxy_core.plugins.trace import changed_fields
from proxy_core.testing import plugin_with, run_proxy


class Doubled:
    def feed(self, event):
        return [event, event] if isinstance(event, proxy_core.TextDelta) else [event]

    def close(self):
        return []


def quiet(request):
    if request.body.get("user") == "refused":
        raise KeyError("secret-value")
    return request.with_body({**request.body, "user": "secret-value"})


SANITIZER = proxy_core.Sanitizer(name="quiet", request=quiet, events=lambda request: Doubled())


async def lines(upstream, tmp_path, caplog, level, **fields):
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    settings = {"providers": {"demo": provider}, "log": {"level": level}}
    caplog.set_level(logging.DEBUG, "proxy_core.plugins.calls")
    upstream.streams("hi")
    modules = [plugin_with(proxy_sanitizers=[SANITIZER])]
    async with run_proxy(settings, folder=tmp_path, modules=modules) as proxy:
        await proxy.chat("demo/small", "hi", stream=True, **fields)
    return [record.getMessage() for record in caplog.records if record.name == "proxy_core.plugins.calls"]


def shown(lines, *words):
    return [line for line in lines if all(word in line for word in words)]


async def test_at_debug_level_each_call_of_a_plugin_is_a_line_without_values(upstream, tmp_path, caplog):
    found = await lines(upstream, tmp_path, caplog, "debug")

    assert shown(found, "quiet of the sanitizer 'quiet' of plugin 'tested' took", "ms: changed user")
    assert shown(found, "feed of the event filter 'quiet' of plugin 'tested' took", "TextDelta became TextDelta")
    assert shown(found, "close of the event filter", "nothing became nothing")
    assert shown(found, "of plugin 'openai_compat'", "it returned UpstreamRequest")
    assert "secret-value" not in "".join(found)


async def test_a_call_that_raises_is_a_line_too(upstream, tmp_path, caplog):
    found = await lines(upstream, tmp_path, caplog, "debug", user="refused")

    assert shown(found, "quiet of the sanitizer", "it raised KeyError")
    assert "secret-value" not in "".join(found)


async def test_at_other_levels_nothing_is_traced(upstream, tmp_path, caplog):
    assert await lines(upstream, tmp_path, caplog, "info") == []


def test_changes_are_named_by_their_path():
    old = {"a": 1, "b": [{"c": 1}, 2], "gone": 1}
    new = {"a": 1, "b": [{"c": 2}, 2], "new": None, "more": 1}

    assert list(changed_fields(old, new)) == ["b[0].c", "gone", "more"]
