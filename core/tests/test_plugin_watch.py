"""Plugins that are slow, and the log of a plugin that fails where everything else is withheld."""

import asyncio
import logging
import threading
import time

import pytest

import proxy_core
from proxy_core.errors import PluginFailed
from proxy_core.plugins.faults import Faults, Site
from proxy_core.plugins.watch import Watch, anything, watched, watched_async
from proxy_core.records.log import REQUEST_ID, program_log
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


def test_in_a_thread_a_call_that_is_over_budget_is_reported_all_the_same(slow, caplog):
    watch, _ = slow
    watch.budget_s = 1.0

    thread = threading.Thread(target=lambda: [watch.took(5) for _ in range(3)])
    thread.start()
    thread.join()

    (line,) = [r.getMessage() for r in caplog.records]
    assert "took 5 s, over its budget of 1 s; after 3 calls in a row of more than 10 s" in line


async def test_an_async_function_may_wait_but_not_hold_up_the_others(clock, caplog):
    site = Site(plugin="p", role="log_sink", name="rude")
    watch = Watch(site, Faults(), clock, None, step_budget_s=0.02)

    async def write(rude):
        for _ in range(3):
            await asyncio.sleep(0.03)
            if rude:
                time.sleep(0.03)
        return "done"

    call = watched_async(write, watch, anything)
    polite = await call(False)
    said_of_polite = len(caplog.records)
    rude = await call(True)

    assert (polite, rude) == ("done", "done")
    (line,) = [r.getMessage() for r in caplog.records[said_of_polite:]]
    assert "the log sink 'rude' of plugin 'p' held up all requests for" in line
    assert (watch.breaker, watch.calls) == ("closed", 2)


async def test_what_is_watched_step_by_step_can_be_cancelled_and_gets_what_is_thrown(clock):
    watch = Watch(Site(plugin="p", role="observer", name="o"), Faults(), clock, None, step_budget_s=60.0)
    seen = []

    async def observe(answer):
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            seen.append("timeout")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(answer)

    task = asyncio.create_task(watched_async(observe, watch, anything)("cancelled"))
    while not seen:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert seen == ["timeout", "cancelled"]


class Panic(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit(3), Panic()])
def test_a_plugin_that_exits_or_panics_ends_only_its_own_call(clock, error):
    def fails():
        raise error

    watch = Watch(Site(plugin="p", role="encode", name="x"), Faults(), clock, None)

    with pytest.raises(PluginFailed, match=f"encoder 'x' of plugin 'p' raised {type(error).__name__}"):
        watched(fails, watch, anything)()


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


def test_of_a_line_that_is_withheld_the_id_and_the_numbers_are_kept(tmp_path, capsys):
    redactor = proxy_core.Redactor(name="broken", redact=lambda record: 1 / 0)
    loaded = load(environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)
    active = start(loaded, modules=[plugin_with(proxy_redactors=[redactor])], to_run=False)
    said = logging.getLogger("proxy_core.tested")
    others = logging.getLogger("proxy_core.plugin.strange")

    with program_log(LogSettings(), folder=tmp_path, scrub=active.process.scrub, redaction=active.process.redaction):
        token = REQUEST_ID.set("the-id-of-this")
        said.warning("%s -> %s %d%s %.0f ms", "somebody's prompt", "somebody's model", 200, "", 17.2)
        said.warning("%s somebody's prompt")
        others.warning("somebody's prompt %d", 3)
        REQUEST_ID.reset(token)
    lines = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]

    withheld = "[withheld: a redactor failed]"
    assert [line.partition("WARNING ")[2] for line in lines] == [
        f"[the-id-of-this] proxy_core.tested: [withheld] -> [withheld] 200 17 ms {withheld}",
        f"[the-id-of-this] proxy_core.tested: {withheld}",
        f"[the-id-of-this] proxy_core.plugin.strange: {withheld}",
    ]


def test_a_redactor_that_takes_too_long_is_named_in_the_log_that_it_cleans(tmp_path, capsys):
    redactor = proxy_core.Redactor(name="slow", redact=lambda record: time.sleep(0.001) or record)
    loaded = load(overrides={"plugins": {"budget_s": 1e-9}}, environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)
    active = start(loaded, modules=[plugin_with(proxy_redactors=[redactor])], to_run=False)

    with program_log(LogSettings(), folder=tmp_path, scrub=active.process.scrub, redaction=active.process.redaction):
        for number in range(5):
            logging.getLogger("proxy_core.tested").warning("line %d", number)
    shown = capsys.readouterr().err

    assert "the redactor 'slow' of plugin 'tested' took" in shown
    assert "times in a row: it is not called for 30 s" in shown


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
