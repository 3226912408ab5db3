"""A token server that fails: the error for clients, and ``why``, name the server, what it said, and who must act."""

import asyncio
import socket
from itertools import product

import pytest
from test_ways_in import MODELS, cli, in_ms, qwens, site

__all__ = ["site"]

PAGE = b"<!doctype html><title>Bad gateway</title>"
#: What the server does, and the words about it in the error for clients and in ``why``.
FAILURES = {
    "an error": (
        lambda s, over: s.fails(500, b'{"error":{"message":"backend is down"}}', times=9),
        "500 (backend is down)",
    ),
    "a limit": (
        lambda s, over: s.fails(429, b'{"error":"slow_down"}', headers={"retry-after": "90"}, times=9),
        "slow_down",
    ),
    "a web page": (lambda s, over: s.fails(502, PAGE, headers={"content-type": "text/html"}, times=9), "page"),
    "nothing": (lambda s, over: s.fails(200, b"", times=9), "status 200 (nothing)"),
    "an empty object": (lambda s, over: s.fails(200, b"{}", times=9), "without a token"),
    "silence": (lambda s, over: s.stalls(until=over), "has not answered yet"),
    "no connection": (lambda s, over: None, "did not respond (the connection was refused)"),
}
FORMS = {"gemini_cli": cli, "qwen_code": qwens}


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def tables(site):
    tables = site.tables
    tables["routing"]["max_wait_s"] = 2.5
    return tables


#: The fast tier has each failure once for each provider.
QUICK = {("gemini_cli", "at first use"), ("qwen_code", "later")}
ROWS = [
    pytest.param(*row, marks=() if (row[0], row[2]) in QUICK else pytest.mark.slow)
    for row in product(FORMS, FAILURES, ["at first use", "later"])
]


@pytest.mark.parametrize(("provider", "failure", "when"), ROWS)
async def test_the_token_server_is_named_with_what_it_said(site, tables, make_proxy, provider, failure, when):
    fails, said = FAILURES[failure]
    over = asyncio.Event()
    server, settings = site.servers[provider], tables["plugins"][provider]
    if failure == "no connection":
        settings["token_url"] = f"http://127.0.0.1:{closed_port()}/token"

    def form(*about):
        fields = FORMS[provider](*about)
        return fields if when == "later" else {**fields, "expiry_date": in_ms(-60)}

    await site.imports(provider, site.file(provider, "one", form), "--copy")
    if when == "at first use":
        fails(server, over)
    site.proxy = await make_proxy(tables, clock=site.clock)
    if when == "later":
        await site.chats(provider)
        fails(server, over)
        await site.expire()

    async with asyncio.timeout(15):  # the first may still bring the vendor's own refusal of the expired token
        while (answer := await site.proxy.chat(MODELS[provider], "hi")).status in (401, 403):
            pass
    (told,) = site.why(provider)
    over.set()  # or the proxy would wait, as it ends, for what its token server may still say

    message = answer.error["message"]
    assert answer.status == 503
    assert settings["token_url"].split("/")[2] in message
    assert said in message
    assert "the proxy tries again" in message or failure == "silence"
    assert int(answer.headers["retry-after"]) >= 1
    assert (told["state"], said in told["why"]) == ("refreshing", True)


async def test_requests_do_not_wait_for_a_token_server_that_has_failed_several_times(site, tables, make_proxy):
    """Those that came before learn it with the failure, the next ones at once; once it is back, all are served."""
    google = site.servers["gemini_cli"]
    await site.imports("gemini_cli", site.file("gemini_cli", "one", cli, "expiry_date"), "--copy")
    tables["routing"]["max_wait_s"] = 25
    google.fails(503, times=4)
    site.proxy = await make_proxy(tables, clock=site.clock)

    async with asyncio.timeout(20):
        first = await site.proxy.chat(MODELS["gemini_cli"], "hi")
    async with asyncio.timeout(5):
        second = await site.proxy.chat(MODELS["gemini_cli"], "hi")
    site.proxy.tables["routing"]["max_wait_s"] = 60
    await site.proxy.reload(timeouts={"idle_s": 300})
    waiting = asyncio.create_task(site.proxy.chat(MODELS["gemini_cli"], "hi"))
    await asyncio.sleep(0.2)
    site.clock.ahead_s += 31
    await site.proxy.reload(timeouts={"idle_s": 400})

    assert [first.status, second.status] == [503, 503]
    assert 1 < int(second.headers["retry-after"]) <= 30
    assert (await waiting).status == 200
    await site.chats("gemini_cli")


async def test_code_assist_that_fails_is_not_the_owners_fault(site, tables, make_proxy):
    google = site.servers["gemini_cli"]
    await site.imports("gemini_cli", site.file("gemini_cli", "one", cli), "--copy")
    down = b'{"error":{"code":503,"message":"backend is down"}}'
    google.fails(503, down, path="/v1internal:loadCodeAssist", times=50)
    site.proxy = await make_proxy(tables, clock=site.clock)

    answer = await site.proxy.chat(MODELS["gemini_cli"], "hi")
    (told,) = site.why("gemini_cli")

    assert answer.status == 503
    assert "Code Assist answered 503: backend is down" in answer.error["message"]
    assert told["state"] == "refreshing" and "backend is down" in told["why"]
