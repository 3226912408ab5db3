"""Plugins that are slow, and the log of a plugin that fails where everything else is withheld."""

import logging
import threading
import time

import pytest

import proxy_core
from proxy_core.errors import PluginFailed
from proxy_core.plugins.faults import Faults, Site
from proxy_core.plugins.watch import Watch, anything, watched
from proxy_core.records.log import program_log
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load
from proxy_core.settings.schema import LogSettings
from proxy_core.testing import plugin_with
from proxy_core.testing.virtual_clock import VirtualClock

#: Every call is over the one, and none over the other.
TINY_S, HUGE_S = 1e-9, 600.0


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def slow(clock):
    """A watch, and a function that it watches."""
    watch = Watch(Site(plugin="p", role="sanitizer", name="slow"), Faults(), clock, TINY_S)
    return watch, watched(lambda: time.sleep(0.001) or "done", watch, anything)


def test_the_third_call_in_a_row_that_is_over_budget_opens_the_breaker(slow, clock, caplog):
    watch, call = slow

    assert [call() for _ in range(3)] == ["done"] * 3
    with pytest.raises(PluginFailed, match="sanitizer 'slow' of plugin 'p' takes too long") as raised:
        call()

    assert (raised.value.status, raised.value.retry_after_s, raised.value.waiting_helps) == (503, 30, True)
    assert watch.breaker == "open"
    assert watch.calls == 3
    assert watch.slowest_s >= 0.001
    levels = [(r.levelname, "sanitizer 'slow' of plugin 'p'" in r.getMessage()) for r in caplog.records]
    assert levels == [("WARNING", True), ("ERROR", True)]


def test_a_quick_call_in_between_starts_the_count_again(slow):
    watch, call = slow
    for budget_s in (TINY_S, TINY_S, HUGE_S, TINY_S, TINY_S):
        watch.budget_s = budget_s
        call()

    assert watch.breaker == "closed"


def test_after_a_while_one_call_decides_whether_the_breaker_closes(slow, clock, caplog):
    watch, call = slow
    for _ in range(3):
        call()

    clock.passes(31)
    assert watch.breaker == "half open"
    call()  # still too slow
    assert watch.breaker == "open"
    clock.passes(31)
    watch.budget_s = HUGE_S
    call()

    assert watch.breaker == "closed"
    assert "its circuit breaker is closed" in caplog.records[-1].getMessage()
    assert call() == "done"


def test_while_one_call_tries_the_others_wait(clock):
    watch = Watch(Site(plugin="p", role="sanitizer", name="slow"), Faults(), clock, TINY_S)
    inner = watched(lambda: "done", watch, anything)
    outer = watched(lambda: inner(), watch, anything)  # the second call comes while the first one tries
    watch.retry_at, watch.slow = clock.monotonic() - 1, 3

    with pytest.raises(PluginFailed, match="takes too long"):
        outer()


def test_in_a_thread_a_call_may_take_ten_times_as_long(slow):
    watch, _ = slow
    watch.budget_s = 1.0

    def takes(seconds):
        thread = threading.Thread(target=lambda: [watch.took(seconds) for _ in range(3)])
        thread.start()
        thread.join()
        return watch.breaker

    assert [takes(5), takes(11)] == ["closed", "open"]


def test_without_a_budget_no_call_is_too_slow(slow):
    watch, call = slow
    watch.budget_s = None

    assert [call() for _ in range(5)] == ["done"] * 5


async def test_a_guard_that_is_too_slow_lets_nothing_pass(make_proxy, upstream):
    sanitizer = proxy_core.Sanitizer(name="slow", request=lambda r: time.sleep(0.001) or r)
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy(
        {"providers": {"demo": provider}, "plugins": {"budget_s": 1e-9}},
        modules=[plugin_with(proxy_sanitizers=[sanitizer])],
    )

    answers = [await proxy.chat("demo/small", "hi") for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 503]
    assert "retry-after" in answers[3].headers
    assert len(upstream.requests) == 3
    (time_of,) = [t for t in proxy.proxy.status.read().plugin_times if t.name == "slow"]
    assert (time_of.calls, time_of.breaker) == (3, "open")


async def test_another_provider_takes_over_from_one_that_is_too_slow(make_proxy, upstream, parrot_like):
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    tables = {"providers": {"demo": provider}, "plugins": {"budget_s": 1e-9}, "models": {"m": ["p/x", "demo/small"]}}
    proxy = await make_proxy(tables, modules=[plugin_with(proxy_providers=[parrot_like])])
    watches = proxy.process.plugin_watch.watches
    for site, watch in watches.items():
        watch.budget_s = 1e-9 if site.name == "p" else None

    answers = [await proxy.chat("m", "hi") for _ in range(4)]

    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.headers["x-proxy-attempts"] for answer in answers] == ["1", "1", "1", "2"]


@pytest.fixture
def parrot_like(upstream):
    def encode(call, credential):
        content = proxy_core.json_bytes({**call.body, "stream": call.stream})
        return proxy_core.UpstreamRequest(url=upstream.url + "/chat/completions", headers=[], content=content)

    return proxy_core.Provider(name="p", encode=encode, dialects=["openai_chat"], credential_optional=True)


def test_a_redactor_that_fails_withholds_every_line_but_the_one_that_names_it(tmp_path, capsys):
    def fail(record):
        raise RuntimeError("somebody's prompt")

    redactor = proxy_core.Redactor(name="broken", redact=fail)
    loaded = load(environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)
    active = start(loaded, modules=[plugin_with(proxy_redactors=[redactor])], to_run=False)
    log = logging.getLogger("proxy_core.tested")

    with program_log(LogSettings(), folder=tmp_path, scrub=active.process.scrub, redaction=active.process.redaction):
        for _ in range(3):
            log.error("somebody's prompt")
            log.error("somebody's prompt", exc_info=ValueError("somebody's prompt"))
    shown = capsys.readouterr().err

    assert "somebody's prompt" not in shown.replace('raise RuntimeError("somebody\'s prompt")', "")
    assert shown.count("the redactor 'broken' of plugin 'tested' raised RuntimeError in " + __file__) == 1
    assert f'File "{__file__}"' in shown
    assert shown.count("withheld: a redactor failed") >= 6


def test_a_request_record_of_a_failing_redactor_is_withheld_and_counted(tmp_path, caplog):
    redactor = proxy_core.Redactor(name="broken", redact=lambda record: [record])
    loaded = load(environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)
    redaction = start(loaded, modules=[plugin_with(proxy_redactors=[redactor])], to_run=False).current.redaction

    assert redaction.apply({"text": "x"}) is None

    assert redaction.failures == 1
    assert "the redactor 'broken' of plugin 'tested' returned a list, not dict" in caplog.text


def test_what_a_traceback_shows_is_of_the_time_of_the_line(tmp_path, capsys):
    """An error's frames are dropped when its request ends, before the log's thread may have come to its line."""
    loaded = load(environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)
    active = start(loaded, to_run=False)

    def fails():
        raise ValueError("somebody's prompt")

    with program_log(LogSettings(), folder=tmp_path, scrub=active.process.scrub, redaction=active.process.redaction):
        try:
            fails()
        except ValueError as error:
            logging.getLogger("proxy_core.tested").error("failed", exc_info=error)
            error.__traceback__ = None
    shown = capsys.readouterr().err

    assert "in fails" in shown
