"""A plugin that is wrong: the log shows where, the client's error names it, and `explain` has the exception's type."""

import asyncio
import json
import logging
import re
from functools import partial

import httpx
import pytest
from msgspec.structs import replace
from strange_plugins import installed

import proxy_core
from proxy_core.dialects import openai_chat
from proxy_core.testing import plugin_with
from proxy_core.testing.program import run, serving

HERE = __file__


def rows(caplog):
    """The error-level lines about plugins: their text, and the frames of their tracebacks."""
    found = [r for r in caplog.records if r.name == "proxy_core.plugins" and r.levelno >= logging.ERROR]
    return [(r.getMessage(), r.exc_info[1] if r.exc_info else None) for r in found]


def boom(*_):
    raise LookupError("a prompt that must not be told")


def exits(*_):
    raise SystemExit(3)


def raises(error):
    def function(*_):
        raise error

    return function


def in_async(function):
    async def waits(*args):
        return function(*args)

    return waits


async def slow(*_):
    return None


class Held:
    """Keeps the last text that it is fed and forgets it at the end."""

    def __init__(self):
        self.held = ""

    def feed(self, event):
        if not isinstance(event, proxy_core.TextDelta):
            return [event]
        out, self.held = self.held, event.text
        return [proxy_core.TextDelta(text=out)] if out else []

    def close(self):
        return []


def holds_unseen(request):
    """A filter that keeps all text where no attribute of it shows."""
    kept = []
    return Feeds(lambda event: kept.append(event) or [] if isinstance(event, proxy_core.TextDelta) else [event])


def only_thinks(request):
    """A filter that makes reasoning of all text."""
    thought = proxy_core.ReasoningDelta
    return Feeds(lambda event: [thought(text=event.text)] if isinstance(event, proxy_core.TextDelta) else [event])


class Feeds:
    """A filter or decoder whose ``feed`` returns what it is told to."""

    ended = False

    def __init__(self, result):
        self.feed = result if callable(result) else lambda data: result

    def close(self):
        return []


def generated(*_):
    yield proxy_core.TextDelta(text="x")


def sanitizer(**fields):
    return {"proxy_sanitizers": [proxy_core.Sanitizer(name="wrong", **fields)]}


def provider(parrot, upstream, **fields):
    return {"proxy_providers": [replace(parrot(), **fields)]}


def unusable(**fields):
    return lambda call, credential: proxy_core.UpstreamRequest(**{"url": "http://127.0.0.1:9/", "headers": []} | fields)


#: What a plugin's author may get wrong; the function, and what the log and the client's error say about it.
SANITIZERS = {
    "request raises": ({"request": boom}, "sanitizer 'wrong'", "raised LookupError"),
    "request returns nothing": ({"request": lambda r: None}, "sanitizer 'wrong'", "returned None, not ProxyRequest"),
    "request is async": ({"request": slow}, "sanitizer 'wrong'", "returned a coroutine"),
    "request takes nothing": (
        {"request": lambda: None},
        "sanitizer 'wrong'",
        "takes 0 arguments, but is called with 1",
    ),
    "the body is a list": ({"request": lambda r: r.with_body([1])}, "sanitizer 'wrong'", "whose body is a list"),
    "the body is no JSON": (
        {"request": lambda r: r.with_body({**r.body, "messages": [{"role": "user", "content": Feeds(None)}]})},
        "sanitizer 'wrong'",
        "body.messages[0].content is an object of class Feeds",
    ),
    "the model is a number": (
        {"request": lambda r: r.with_body({**r.body, "model": 5})},
        "sanitizer 'wrong'",
        "body.model is an int",
    ),
    "events returns the class": ({"events": lambda r: Held}, "event filter 'wrong'", "returned the class Held"),
    "events raises": ({"events": boom}, "event filter 'wrong'", "raised LookupError"),
    "events returns a list": ({"events": lambda r: []}, "event filter 'wrong'", "returned a list, not an event filter"),
    "events is async": ({"events": slow}, "event filter 'wrong'", "returned a coroutine"),
    "feed raises": ({"events": lambda r: Feeds(boom)}, "event filter 'wrong'", "raised LookupError"),
    "feed returns None": ({"events": lambda r: Feeds(None)}, "event filter 'wrong'", "returned None, not a list"),
    "feed yields": ({"events": lambda r: Feeds(generated)}, "event filter 'wrong'", "returned a generator, not a list"),
    "feed returns texts": ({"events": lambda r: Feeds(["x"])}, "event filter 'wrong'", "a list with a str"),
    "text is held unseen": (
        {"events": holds_unseen},
        "event filter 'wrong'",
        "returned without any text, nor anything",
    ),
    "feed returns a number as text": (
        {"events": lambda r: Feeds([proxy_core.TextDelta(text=5)])},
        "event filter 'wrong'",
        "a list with a TextDelta whose text is an int",
    ),
    "request's error has no message": (
        {"request": raises(proxy_core.BadRequest(None))},
        "sanitizer 'wrong'",
        "raised BadRequest with a message that is None",
    ),
    "request's error has a number as message": (
        {"request": raises(proxy_core.BadRequest(5))},
        "sanitizer 'wrong'",
        "raised BadRequest with a message that is an int",
    ),
    "request's error has a number as param": (
        {"request": raises(proxy_core.BadRequest("no", param=7))},
        "sanitizer 'wrong'",
        "raised BadRequest with a param that is an int",
    ),
    "request's error has no time": (
        {"request": raises(proxy_core.BadRequest("no", retry_after_s=float("nan")))},
        "sanitizer 'wrong'",
        "raised BadRequest with a retry_after_s of nan",
    ),
    "text is held for ever": ({"events": lambda r: Held()}, "event filter 'wrong'", "text that it still holds"),
}
PROVIDERS = {
    "encode raises": ({"encode": boom}, "encoder 'parrot'", "raised LookupError"),
    "encode exits": ({"encode": exits}, "encoder 'parrot'", "raised SystemExit"),
    "encode is cancelled": ({"encode": raises(asyncio.CancelledError())}, "encoder 'parrot'", "raised CancelledError"),
    "encode is closed": ({"encode": raises(GeneratorExit())}, "encoder 'parrot'", "raised GeneratorExit"),
    "encode's error has no message": (
        {"encode": raises(proxy_core.BadRequest(None))},
        "encoder 'parrot'",
        "raised BadRequest with a message that is None",
    ),
    "encode returns a dict": ({"encode": lambda c, k: {}}, "encoder 'parrot'", "returned a dict, not UpstreamRequest"),
    "encode is async": ({"encode": slow}, "encoder 'parrot'", "returned a coroutine"),
    "content is a text": ({"encode": unusable(content="{}")}, "encoder 'parrot'", "content is a str, not bytes"),
    "headers are a dict": ({"encode": unusable(headers={})}, "encoder 'parrot'", "headers are a dict"),
    "a header is a number": ({"encode": unusable(headers=[("a", 1)])}, "encoder 'parrot'", "not a pair of str"),
    "a header ends its line": (
        {"encode": unusable(headers=[("a", "b\r\nc: d")])},
        "encoder 'parrot'",
        "whose header 'a' contains a line break",
    ),
    "a header has a space": ({"encode": unusable(headers=[("a b", "c")])}, "encoder 'parrot'", "name is not valid"),
    "dropped is a text": ({"encode": unusable(dropped="user")}, "encoder 'parrot'", "whose dropped is a str"),
    "encode takes the call only": (
        {"encode": lambda call: call},
        "encoder 'parrot'",
        "takes 1 argument, but is called",
    ),
    "the address is a path": ({"encode": unusable(url="/v1/chat")}, "encoder 'parrot'", "url is not a complete http"),
    "the address has no host": ({"encode": unusable(url="https:///v1")}, "encoder 'parrot'", "url is not a complete"),
    "dialects_of returns None": (
        {"dialects_of": lambda m: None},
        "dialects_of function 'parrot'",
        "returned None, not",
    ),
    "dialects_of invents one": ({"dialects_of": lambda m: ["klingon"]}, "'parrot'", "'klingon', which is no dialect"),
    "dialects_of raises": ({"dialects_of": boom}, "dialects_of function 'parrot'", "raised LookupError"),
    "listener raises": ({"listener": boom}, "listener 'parrot'", "raised LookupError"),
    "listener returns a list": ({"listener": lambda c: []}, "listener 'parrot'", "returned a list, not a function"),
    "listener cannot hear": ({"listener": lambda c: boom}, "listener 'parrot'", "raised LookupError"),
    "decoder is given by its class": ({"decoder": lambda c, r: Feeds}, "decoder 'parrot'", "returned the class Feeds"),
    "decoder raises": ({"decoder": boom}, "decoder 'parrot'", "raised LookupError"),
    "decoder returns None": ({"decoder": lambda c, r: None}, "decoder 'parrot'", "returned None without 'feed'"),
    "decoder's feed raises": ({"decoder": lambda c, r: Feeds(boom)}, "decoder 'parrot'", "raised LookupError"),
    "decoder's feed yields": ({"decoder": lambda c, r: Feeds(generated)}, "decoder 'parrot'", "returned a generator"),
    "decoder's usage is a dict": (
        {"decoder": lambda c, r: Feeds([proxy_core.UsageReport(usage={"prompt": 1})])},
        "decoder 'parrot'",
        "a list with a UsageReport whose usage is a dict",
    ),
    "decoder's usage has a fraction": (
        {"decoder": lambda c, r: Feeds([proxy_core.UsageReport(usage=proxy_core.Usage(prompt=1.5))])},
        "decoder 'parrot'",
        "a list with a Usage whose prompt is a float",
    ),
    "decoder's reason is unknown": (
        {"decoder": lambda c, r: Feeds([proxy_core.Finish(reason="done!")])},
        "decoder 'parrot'",
        "a list with a Finish whose reason is a str",
    ),
    "send exits": ({"send": in_async(exits)}, "sender 'parrot'", "raised SystemExit"),
    "send is cancelled": (
        {"send": in_async(raises(asyncio.CancelledError()))},
        "sender 'parrot'",
        "raised CancelledError",
    ),
    "send raises": ({"send": boom}, "sender 'parrot'", "raised LookupError"),
    "send is not async": (
        {"send": lambda r, c: None},
        "sender 'parrot'",
        "returned None: it must be an async function",
    ),
    "send returns nothing": ({"send": slow}, "sender 'parrot'", "returned None, not ProviderResponse"),
    "read_quota returns None": (
        {"read_quota": lambda h, t: None},
        "reader of quotas 'parrot'",
        "returned None, not list",
    ),
}


@pytest.fixture
def faulty(make_proxy, upstream, caplog):
    async def make(hooks, **tables):
        caplog.set_level(logging.INFO)
        provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
        return await make_proxy({"providers": {"demo": provider}, **tables}, modules=[plugin_with(**hooks)])

    return make


async def explain(proxy, request_id):
    key = (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()
    url = f"{proxy.url.removesuffix('/v1')}/admin/explain/{request_id}"
    return (await proxy.client.get(url, headers={"authorization": f"Bearer {key}"})).json()


async def check(proxy, caplog, model, who, what, stream):
    answers = [await proxy.chat(model, "hi", stream=stream) for _ in range(2)]

    for answer in answers:
        error = answer.error
        assert error["code"] == "plugin_failed"
        assert f"{who} of plugin 'tested' {what.split(',')[0]}" in error["message"] or what in error["message"]
        assert "a prompt that must not be told" not in str(answer.body)
        if answer.status != 200:  # in the middle of a stream there is no status any more
            assert (answer.status, answer.headers["x-should-retry"]) == (500, "false")
    ((line, error),) = rows(caplog)  # once per cause
    assert who in line
    assert what in line
    assert "'tested'" in line
    if "raised" in what:
        assert type(error).__name__ == what.split()[1]
        assert re.search(rf"in {re.escape(HERE)}:\d+", line)
    explained = await explain(proxy, answers[-1].headers["x-request-id"])
    assert (type(error).__name__ if error else "TypeError") in explained["cause"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("case", SANITIZERS)
async def test_a_sanitizer_that_is_wrong_is_named(faulty, caplog, case, stream):
    fields, who, what = SANITIZERS[case]
    proxy = await faulty(sanitizer(**fields))

    await check(proxy, caplog, "demo/small", who, what, stream)


async def test_a_filter_of_patterns_may_leave_nothing(faulty, caplog):
    proxy = await faulty(sanitizer(events=lambda request: proxy_core.TextFilter(r"[^\n]+", "", hold=100)))

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 200
    assert not rows(caplog)


async def test_a_filter_may_put_something_else_in_place_of_all_text(faulty, caplog):
    proxy = await faulty(sanitizer(events=only_thinks))

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["reasoning_content"]
    assert not rows(caplog)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("case", PROVIDERS)
async def test_a_provider_that_is_wrong_is_named(faulty, caplog, upstream, parrot, case, stream):
    fields, who, what = PROVIDERS[case]
    upstream.for_path("/parrot").queue.extend(upstream.for_path("/parrot").queue[:1])
    proxy = await faulty(provider(parrot, upstream, **fields))

    await check(proxy, caplog, "parrot/grey", who, what, stream)


def deciding(**fields):
    given = {"fault": "provider", "next": "reject", "error": proxy_core.BadRequest("no"), "cooldown": "credential"}
    return lambda failure: proxy_core.FailureDecision(**given | fields)


@pytest.mark.parametrize(
    "classify, what",
    [
        (boom, "raised LookupError"),
        (lambda f: None, "returned None, not FailureDecision"),
        (slow, "a coroutine"),
        (deciding(cooldown_s=float("nan")), "a FailureDecision with a cooldown of nan s"),
        (deciding(cooldown_s=float("inf")), "a FailureDecision with a cooldown of inf s"),
        (deciding(cooldown_s=-5), "a FailureDecision with a cooldown of -5 s"),
        (deciding(cooldown_s="5"), "a FailureDecision whose cooldown_s is a str"),
        (deciding(back_off_s=(1, float("nan"))), "a FailureDecision with a cooldown of nan s"),
        (deciding(next="later"), "a FailureDecision whose next is a str"),
        (deciding(cooldown="everything"), "a FailureDecision whose cooldown is a str"),
        (deciding(fault="nobody"), "a FailureDecision whose fault is a str"),
        (deciding(error="no"), "a FailureDecision whose error is a str"),
        (deciding(error=proxy_core.BadRequest(None)), "a FailureDecision whose error has a message that is None"),
    ],
    ids=[
        "raises",
        "nothing",
        "async",
        "nan",
        "inf",
        "negative",
        "text",
        "step",
        "next",
        "cooldown",
        "fault",
        "error",
        "message",
    ],
)
async def test_a_classifier_that_is_wrong_is_named(faulty, caplog, upstream, parrot, classify, what):
    proxy = await faulty(provider(parrot, upstream, classify_failure=classify))
    upstream.for_path("/parrot").queue.clear()
    upstream.for_path("/parrot").responds(500)
    upstream.for_path("/parrot").responds(500)

    await check(proxy, caplog, "parrot/grey", "failure classifier 'parrot'", what, stream=False)


def refuses(body):
    raise proxy_core.BadRequest("This is refused.", param="model")


def duck(**wrong):
    """A dialect of a plugin's own, which is like OpenAI's but where it is wrong."""
    return replace(openai_chat.DIALECT, name="duck", paths=["/v1/duck"], encode=None, operations=(), **wrong)


@pytest.mark.parametrize("wrong", [boom, lambda e, i: None, exits], ids=["raises", "returns nothing", "exits"])
async def test_an_error_that_a_dialect_cannot_word_is_told_in_common_words(faulty, caplog, wrong):
    proxy = await faulty({"proxy_dialects": [duck(encode_error=wrong, check=refuses)]})

    answer = await proxy.post("/duck", {"model": "demo/small"})

    error = answer.error
    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", "model")
    assert error["message"].startswith("This is refused. The encoder of errors of dialect 'duck' of plugin 'tested' r")
    ((line, _),) = rows(caplog)
    assert "encoder of errors of dialect 'duck' of plugin 'tested'" in line
    assert HERE in line


@pytest.mark.parametrize("wrong", [boom, lambda body: None], ids=["raises", "returns nothing"])
async def test_a_dialect_whose_decoder_of_requests_is_wrong_is_named(faulty, caplog, parrot, upstream, wrong):
    body = {"model": "parrot/grey", "messages": [{"role": "user", "content": "hi"}]}
    proxy = await faulty({"proxy_dialects": [duck(decode=wrong)], **provider(parrot, upstream)})

    answer = await proxy.post("/duck", body)

    assert (answer.status, answer.error["code"]) == (500, "plugin_failed")
    assert "decoder of requests of dialect 'duck' of plugin 'tested'" in answer.error["message"]
    assert len(rows(caplog)) == 1


@pytest.mark.parametrize("url", ["", "parrot", "http://[::1", "http://h:99999/", "http://h:x/", 7])
async def test_an_address_that_is_none_keeps_no_proxy_from_starting(faulty, upstream, parrot, url):
    proxy = await faulty(provider(parrot, upstream, encode=unusable(url=url)))

    assert (await proxy.chat("demo/small", "hi")).status == 200
    assert (await proxy.chat("parrot/grey", "hi")).status >= 500


@pytest.mark.parametrize("wrong", ["encode", "decoder", "classify_failure", "dialects_of"])
async def test_another_provider_takes_over_from_one_whose_plugin_fails(faulty, caplog, upstream, parrot, wrong):
    hooks = provider(parrot, upstream, **{wrong: boom})
    if wrong == "classify_failure":
        upstream.for_path("/parrot").queue.clear()
        upstream.for_path("/parrot").responds(500)
    proxy = await faulty(hooks, models={"fast": ["parrot/grey", "demo/small"]})

    answer = await proxy.chat("fast", "hi")

    assert (answer.status, answer.headers["x-proxy-attempts"]) == (200, "2")
    assert "LookupError" in (await explain(proxy, answer.headers["x-request-id"]))["attempts"][0]["cause"]
    assert len(rows(caplog)) == 1


async def test_a_guard_that_fails_is_not_passed_by_another_provider(faulty, upstream):
    proxy = await faulty(sanitizer(events=lambda r: Feeds(boom)), models={"fast": ["demo/small", "demo/large"]})

    answer = await proxy.chat("fast", "hi", stream=True)

    assert answer.error["code"] == "plugin_failed"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("select", [boom, lambda c, r: None], ids=["raises", "returns nothing"])
async def test_a_selector_that_is_wrong_is_named(faulty, caplog, select):
    hooks = {"proxy_selectors": [proxy_core.Selector(name="wrong", select=select)]}
    proxy = await faulty(hooks, routing={"selector": "wrong"})

    await check(proxy, caplog, "demo/small", "selector 'wrong'", "", stream=False)


@pytest.mark.parametrize(
    "observe",
    [boom, lambda record: None, in_async(exits), in_async(raises(asyncio.CancelledError()))],
    ids=["raises", "is not async", "exits", "is cancelled"],
)
async def test_an_observer_that_is_wrong_is_named_once(faulty, caplog, observe):
    proxy = await faulty({"proxy_observers": [proxy_core.Observer(name="wrong", observe=observe)]})

    answers = [await proxy.chat("demo/small", "hi") for _ in range(2)]
    async with asyncio.timeout(20):
        while proxy.proxy.status.read().failures["observer"] < 2:
            await asyncio.sleep(0.01)

    assert [answer.status for answer in answers] == [200, 200]
    ((line, _),) = rows(caplog)
    assert "observer 'wrong' of plugin 'tested'" in line


@pytest.mark.parametrize(
    "count",
    [boom, lambda c: 7, lambda c: proxy_core.TokenCount(tokens=-5), lambda c: proxy_core.TokenCount(tokens="5")],
    ids=["raises", "returns a number", "counts less than none", "counts in words"],
)
async def test_a_counter_that_is_wrong_is_named_and_the_next_one_counts(faulty, caplog, count):
    hooks = {"proxy_token_counters": [proxy_core.TokenCounter(name="wrong", count=count, rank=-99)]}
    proxy = await faulty(hooks)

    counted = [await proxy.post("/responses/input_tokens", {"model": "demo/small", "input": "hello"}) for _ in range(2)]

    assert [answer.status for answer in counted] == [200, 200]
    ((line, _),) = rows(caplog)
    assert "counter 'wrong' of plugin 'tested'" in line
    for answer in counted:
        explained = await explain(proxy, answer.headers["x-request-id"])
        assert (explained["status"], explained["outcome"]) == (200, "completed")
        assert re.search(r"\w+Error\b.* the counter 'wrong' of plugin 'tested'", explained["cause"])


@pytest.mark.parametrize("wrong", ["request", "parse"])
async def test_a_list_of_models_that_is_wrong_is_named(faulty, caplog, upstream, parrot, wrong):
    fields = {
        "request": lambda credential: proxy_core.UpstreamRequest(url=f"{upstream.url}/parrot/models", headers=[]),
        "parse": lambda body: [],
    }
    hooks = provider(parrot, upstream, list_models=proxy_core.ListModels(**fields | {wrong: boom}))
    upstream.for_path("/parrot/models").responds(200, {})
    proxy = await faulty(hooks, models={"fast": ["demo/small"]})

    listed = await proxy.get("/models")

    assert "fast" in [model["id"] for model in listed.json["data"]]
    ((line, error),) = rows(caplog)
    assert "the list of models 'parrot' of plugin 'tested' raised LookupError" in line
    assert isinstance(error, LookupError)
    assert "unreadable (LookupError in the list of models 'parrot'" in caplog.text


async def test_a_catalog_that_is_wrong_is_named(faulty, caplog):
    hooks = {"proxy_model_catalogs": [proxy_core.ModelCatalog(name="wrong", load=boom)]}
    proxy = await faulty(hooks)

    assert (await proxy.chat("demo/small", "hi")).status == 200
    await proxy.get("/models")
    async with asyncio.timeout(20):
        while not rows(caplog):
            await asyncio.sleep(0.01)

    ((line, error),) = rows(caplog)
    assert "the model catalog 'wrong' of plugin 'tested' raised LookupError" in line
    assert isinstance(error, LookupError)


@pytest.mark.parametrize("find", [boom, lambda provider, model: 5], ids=["raises", "returns a number"])
async def test_a_catalog_that_looks_up_something_wrong_is_named_and_passed_over(faulty, caplog, find):
    catalog = proxy_core.ModelCatalog(name="wrong", load=lambda: find, rank=-99)
    proxy = await faulty({"proxy_model_catalogs": [catalog]}, models={"fast": ["demo/small"]})

    async with asyncio.timeout(20):
        while not rows(caplog):
            assert "fast" in [model["id"] for model in (await proxy.get("/models")).json["data"]]
            await asyncio.sleep(0.01)

    assert (await proxy.get("/models")).status == 200
    ((line, _),) = rows(caplog)
    assert "the model catalog 'wrong' of plugin 'tested'" in line


#: What ends or spoils an answer, and what is said about it; the class of the response is put in.
ANSWERS = {
    "raises": (lambda cls: in_async(boom), "raised LookupError"),
    "exits": (lambda cls: in_async(exits), "raised SystemExit"),
    "is cancelled": (lambda cls: in_async(raises(asyncio.CancelledError())), "raised CancelledError"),
    "is closed": (lambda cls: in_async(raises(GeneratorExit())), "raised GeneratorExit"),
    "is not async": (lambda cls: lambda *_: cls(), "it must be an async function"),
    "returns nothing": (lambda cls: in_async(lambda *_: None), "returned None, not {name}"),
    "returns a text": (lambda cls: in_async(lambda *_: "yes"), "returned a str, not {name}"),
    "has a text as status": (lambda cls: in_async(lambda *_: cls(status="200")), "{name} whose status is a str"),
    "has no status": (lambda cls: in_async(lambda *_: cls(status=7)), "{name} with a status of 7"),
    "has a body that is none": (lambda cls: in_async(lambda *_: cls(body=object())), "{name} whose body is "),
    "has an error without a message": (
        lambda cls: in_async(raises(proxy_core.BadRequest(None))),
        "raised BadRequest with a message that is None",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_operation_and_a_page_that_are_wrong_are_named_and_end_only_their_own_request(faulty, caplog, case):
    wrong, what = ANSWERS[case]
    page = partial(proxy_core.PageResponse, content_type="text/plain")
    proxy = await faulty(
        {
            "proxy_operations": [
                proxy_core.Operation(paths=("/v1/tool",), answer=wrong(proxy_core.OperationResponse), public=True)
            ],
            "proxy_admin_pages": [proxy_core.AdminPage(path="/admin/tool", respond=wrong(page), public=True)],
        }
    )
    root = proxy.url.removesuffix("/v1")

    operations = [await proxy.client.get(f"{root}/v1/tool") for _ in range(2)]
    pages = [await proxy.client.get(f"{root}/admin/tool") for _ in range(2)]

    for answer in (*operations, *pages):
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "plugin_failed")
        assert answer.headers["x-request-id"]
    assert "operation '/v1/tool' of plugin 'tested'" in operations[0].json()["error"]["message"]
    assert "page '/admin/tool' of plugin 'tested'" in pages[0].json()["error"]["message"]
    lines = [line for line, _ in rows(caplog)]
    assert [
        what.format(name=name) in line for line, name in zip(lines, ("OperationResponse", "PageResponse"), strict=True)
    ] == [True, True], lines
    assert (await explain(proxy, operations[0].headers["x-request-id"]))["cause"]
    assert (await proxy.chat("demo/small", "hi")).status == 200


async def test_a_log_sink_that_is_cancelled_by_itself_is_named_and_writes_again(faulty, caplog):
    written = []

    async def write(lines):
        written.append(lines)
        if len(written) == 1:
            raise asyncio.CancelledError

    sink = proxy_core.LogSink(name="wrong", write=write)
    proxy = await faulty({"proxy_log_sinks": [sink]}, records={"enabled": True})

    async with asyncio.timeout(20):
        for number in (1, 2):
            await proxy.chat("demo/small", "hi")
            while len(written) < number:
                await asyncio.sleep(0.01)

    ((line, _),) = rows(caplog)
    assert "the log sink 'wrong' of plugin 'tested' raised CancelledError" in line


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()], ids=["exits", "is cancelled"])
async def test_a_state_store_that_ends_more_than_itself_is_done_without(faulty, caplog, error):
    store = proxy_core.StateStore(scheme="wrong", open=in_async(raises(error)))
    proxy = await faulty({"proxy_state_stores": [store]}, state={"url": "wrong://here"})

    assert (await proxy.chat("demo/small", "hi")).status == 200
    assert f"the state store cannot be used ({type(error).__name__}" in caplog.text


async def test_a_decoder_that_exits_where_nothing_is_called_ends_only_its_own_request(faulty, upstream, parrot):
    class Exits(Feeds):
        ended = property(exits)

    proxy = await faulty(provider(parrot, upstream, decoder=lambda call, response: Exits([])))

    assert (await proxy.chat("parrot/grey", "hi", stream=True)).error["code"] == "plugin_failed"
    assert (await proxy.chat("demo/small", "hi")).status == 200


EXITS = """
from proxy_core import PluginInfo, Sanitizer, hookimpl
PLUGIN = PluginInfo(name="rude", api=1)
@hookimpl
def proxy_sanitizers(ctx):
    return [Sanitizer(name="rude", request=lambda request: exit(3))]
"""


async def test_the_program_explains_requests_that_a_plugin_spoiled(tmp_path, upstream):
    installed(tmp_path / "site", "parrot", "import nothing_of_this_name")
    installed(tmp_path / "site", "rude", EXITS)
    variables = {
        "DEMO_API_BASE": upstream.url,
        "DEMO_API_KEY": "a-key-of-the-demo",
        "PROXY_API_KEY": "a-key-of-a-client",
        "PYTHONPATH": str(tmp_path / "site"),
    }
    async with serving(tmp_path, **variables) as program, httpx.AsyncClient() as client:
        ids = []
        for model in ("parrot/grey", "demo/small"):
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            headers = {"authorization": "Bearer a-key-of-a-client"}
            answer = await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)
            ids.append(answer.headers["x-request-id"])
        explained = [(await run(tmp_path, "explain", one, **variables))[1] for one in ids]
        code, examined = await run(tmp_path, "doctor", **variables)

    assert "(plugin_not_active)" in explained[0]
    assert "the plugin 'parrot' is not used: import failed: ModuleNotFoundError" in explained[0]
    assert "(plugin_failed)" in explained[1]
    assert "SystemExit in the sanitizer 'rude' of plugin 'rude'" in explained[1]
    assert code == 1
    assert "problem: plugins: the sanitizer 'rude' of plugin 'rude' failed in 1 of 1 calls" in examined
    assert "problem: plugins: parrot is skipped: import failed: ModuleNotFoundError" in examined


async def test_the_list_of_plugins_has_the_times_of_the_proxy_that_runs(tmp_path, upstream):
    variables = {
        "DEMO_API_BASE": upstream.url,
        "DEMO_API_KEY": "a-key-of-the-demo",
        "PROXY_API_KEY": "a-key-of-a-client",
    }
    async with serving(tmp_path, **variables) as program:
        async with httpx.AsyncClient() as client:
            body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
            headers = {"authorization": "Bearer a-key-of-a-client"}
            answer = await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)
        _, listed = await run(tmp_path, "plugins", **variables)
        _, as_json = await run(tmp_path, "plugins", "--json", **variables)

    assert answer.status_code == 200
    (encoding,) = [line for line in listed.splitlines() if "encode demo" in line]
    assert re.search(r"encode demo +1 +[\d.e-]+ ms +[\d.e-]+ ms +0 +closed", encoding)
    times = {(row["role"], row["name"]): row for row in json.loads(as_json)["times"]}
    assert times["encode", "demo"]["calls"] == 1
