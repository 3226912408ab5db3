"""Which credential answers, which rests, and what the client is told when none does."""

import pytest

from proxy_core.testing import fingerprint

HINTED = {"retry-after": "30"}
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


def one_key_each(*, retries=1):
    """Two providers with one key each, and a model that both can serve."""
    providers = {name: {"api_keys": [f"key-{name}"]} for name in ("one", "two")}
    routing = {"attempts_per_credential": retries, "max_wait_s": 1, "retry_delay_s": 0.01, "retry_jitter_s": 0}
    return {"providers": providers, "models": {"best": ["one/small", "two/small"]}, "routing": routing}


def in_flight(proxy):
    return sum(pool.in_flight for pool in proxy.proxy.pools.values())


# --- Rotating and failing over ---------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_a_failure_of_one_credential_cools_it_down_and_the_next_one_answers(
    proxy, upstream, status, stream, clock
):
    upstream.for_key("key-a").responds(status)

    first = await clock.run(proxy.chat("demo/small", "hi", stream=stream))
    second = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert (first.status, first.text, second.text) == (200, "hello", "hello")
    assert upstream.keys_seen == ["key-a", "key-b", "key-b"], "a credential that rests is left alone"
    assert proxy.cooldown_s("key-a") > 5
    assert in_flight(proxy) == 0


async def test_a_rate_limit_is_for_its_model_and_a_refusal_for_every_model(proxy, upstream, clock):
    upstream.for_key("key-a").responds(429, headers=HINTED)
    upstream.for_key("key-a").responds()
    await clock.run(proxy.chat("demo/small", "hi"))
    await clock.run(proxy.chat("demo/large", "hi"))
    assert upstream.keys_seen == ["key-a", "key-b", "key-a"]

    upstream.for_key("key-a").responds(401)
    upstream.for_key("key-a").queue.pop(0)
    await clock.run(proxy.chat("demo/large", "hi"))
    await clock.run(proxy.chat("demo/huge", "hi"))
    assert upstream.keys_seen[3:] == ["key-a", "key-b", "key-b"]


async def test_rotation_after_a_429_waits_for_nothing(make_proxy, upstream, clock):
    limited = [f"key-{n}" for n in range(10)]
    for key in limited:
        upstream.for_key(key).responds(429, headers=HINTED)
    provider = {"api_keys": [*limited, "key-fine"], "rotation": {"fair_cycle": False}}
    proxy = await make_proxy({"providers": {"demo": provider}, "routing": {"selector": "sequential"}})

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))

    assert (answer.status, len(upstream.requests)) == (200, 11)
    assert took_s == 0


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_clients_own_mistake_goes_to_one_credential_and_causes_no_cooldown(make_proxy, upstream, status, clock):
    upstream.responds(status)
    proxy = await make_proxy(one_key_each())

    answer = await clock.run(proxy.chat("best", "hi"))

    assert answer.status == status
    assert len(upstream.requests) == 1
    assert proxy.cooldown_s("key-one") == 0


async def test_what_one_provider_does_not_have_the_next_one_may(make_proxy, upstream, clock):
    upstream.for_key("key-one").responds(404, {"error": {"message": "no such model", "code": "model_not_found"}})
    proxy = await make_proxy(one_key_each())

    assert (await clock.run(proxy.chat("best", "hi"))).text == "hello"
    assert upstream.keys_seen == ["key-one", "key-two"]


# --- What the client is told -------------------------------------------------------------


async def test_the_final_error_lists_the_attempts_by_fingerprint(proxy, upstream, clock):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "40"})
    upstream.for_key("key-b").responds(401)

    answer = await clock.run(proxy.chat("demo/small", "hi"))

    listed = answer.error["attempts"]
    assert [(a["deployment"], a["credential"], a["status"], a["fault"]) for a in listed] == [
        ("demo/small", fingerprint("key-a"), 429, "model"),
        ("demo/small", fingerprint("key-b"), 401, "credential"),
    ]
    assert all(0 <= attempt["duration_s"] < 5 for attempt in listed)
    assert b"key-a" not in answer.body
    assert b"key-b" not in answer.body


async def test_retry_after_is_the_soonest_of_all_deployments(make_proxy, upstream, clock):
    upstream.for_key("key-one").responds(429, headers={"retry-after": "50"})
    upstream.for_key("key-two").responds(429, headers={"retry-after": "20"})
    proxy = await make_proxy(one_key_each())

    for _ in range(2):
        answer = await clock.run(proxy.chat("best", "hi"))
        assert answer.status == 429
        assert 18 <= int(answer.headers["retry-after"]) <= 20
        assert 18_000 <= int(answer.headers["retry-after-ms"]) <= 20_000

    assert len(upstream.requests) == 2


def words(status, code=None):
    return {"status": status, "json_body": {"error": {"message": f"said {status}", "type": "x", "code": code}}}


WINS = {
    "a limit over a refused key": (words(429), words(401), 429, "rate_limit_exceeded"),
    "a limit over an outage": (words(429), words(500), 429, "rate_limit_exceeded"),
    "a limit over an empty account": (words(429), words(402), 429, "rate_limit_exceeded"),
    "an outage over a refused key": (words(500), words(401), 502, "upstream_error"),
    "an overload over a refused key": (words(503), words(401), 503, "server_is_overloaded"),
    "an outage over an unknown model": (words(500), words(404, "model_not_found"), 502, "upstream_error"),
}


@pytest.mark.parametrize("turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize(("one", "two", "status", "code"), WINS.values(), ids=WINS)
async def test_of_different_failures_the_client_gets_the_one_most_worth_waiting_for(
    make_proxy, upstream, one, two, status, code, turned, clock
):
    for key, script in zip(("key-one", "key-two"), (two, one) if turned else (one, two), strict=True):
        upstream.for_key(key).responds(**script)
    proxy = await make_proxy(one_key_each())

    answer = await clock.run(proxy.chat("best", "hi"))

    assert (answer.status, answer.error["code"]) == (status, code)
    assert len(answer.error["attempts"]) == 2


# --- When all fail ---------------------------------------------------------------------------

ALL_FAIL = [
    (500, {}, 502, "upstream_error"),
    (502, {}, 502, "upstream_error"),
    (503, {}, 503, "server_is_overloaded"),
    (504, {}, 504, "timeout"),
    (529, {}, 503, "server_is_overloaded"),
    (401, {}, 403, "upstream_credential_refused"),
    (403, {}, 403, "upstream_credential_refused"),
    (402, {}, 403, "insufficient_quota"),
    (302, {"location": "http://127.0.0.1:1/"}, 502, "upstream_error"),
]


@EITHER
@pytest.mark.parametrize(("status", "headers", "told", "code"), ALL_FAIL)
async def test_when_every_credential_fails_the_client_learns_why(
    proxy, upstream, status, headers, told, code, stream, clock
):
    upstream.responds(status, headers=headers)

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert (answer.status, answer.error["code"]) == (told, code)
    assert set(upstream.keys_seen) == {"key-a", "key-b"}


async def test_when_every_credential_is_limited_the_client_learns_when_to_come_back(proxy, upstream, clock):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "60"})
    upstream.for_key("key-b").responds(429, headers={"retry-after-ms": "40500"})

    first = await clock.run(proxy.chat("demo/small", "hi"))
    second = await clock.run(proxy.chat("demo/small", "hi"))

    for answer in (first, second):
        assert answer.status == 429
        assert 0 < float(answer.headers["retry-after"]) <= 41
        assert float(answer.headers["retry-after-ms"]) <= 40_500
    assert [answer.error["code"] for answer in (first, second)] == ["rate_limit_exceeded"] * 2
    assert len(upstream.requests) == 2, "resting credentials are left alone"


async def test_a_long_cooldown_tells_clients_not_to_wait(proxy, upstream, clock):
    upstream.responds(429, headers={"retry-after": "300"})

    answer = await clock.run(proxy.chat("demo/small", "hi"))

    assert answer.headers["x-should-retry"] == "false"


async def test_a_dropped_connection_is_retried(proxy, upstream, clock):
    upstream.for_key("key-a").resets()
    upstream.for_key("key-a").responds()

    assert (await clock.run(proxy.chat("demo/small", "hi"))).text == "hello"
    assert upstream.keys_seen == ["key-a", "key-a"]


async def test_the_pause_before_a_credential_is_retried_doubles(make_proxy, upstream, clock):
    upstream.resets()
    routing = {"attempts_per_credential": 4, "max_wait_s": 60, "retry_delay_s": 0.5, "retry_jitter_s": 0}
    proxy = await make_proxy({"providers": {"demo": {"api_keys": ["key-a"]}}, "routing": routing})

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))

    assert answer.status == 502
    assert [request.at - upstream.requests[0].at for request in upstream.requests] == pytest.approx([0, 0.5, 1.5, 3.5])
    assert took_s == pytest.approx(3.5)


async def test_a_model_fails_over_to_its_next_deployment(make_proxy, upstream, clock):
    upstream.for_key("key-1").responds(500)
    upstream.for_key("key-2").responds()
    providers = {
        "one": {"api_keys": ["key-1"]},
        "two": {"api_keys": ["key-2"]},
    }
    proxy = await make_proxy({"providers": providers, "models": {"best": ["one/a", "two/b"]}})

    answer = await clock.run(proxy.chat("best", "hi"))

    assert answer.text == "hello"
    assert [r.json["model"] for r in upstream.requests] == ["a", "a", "b"]


# --- X-Proxy headers ---------------------------------------------------------------------


def told(answer):
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("x-proxy")}


@EITHER
async def test_a_response_names_the_deployment_and_the_number_of_attempts(proxy, upstream, stream, clock):
    upstream.for_key("key-a").responds(429, headers=HINTED)

    answer = await clock.run(proxy.chat("demo/org/small", "hi", stream=stream))

    assert told(answer) == {
        "x-proxy-provider": "demo",
        "x-proxy-model": "org/small",
        "x-proxy-credential": fingerprint("key-b"),
        "x-proxy-attempts": "2",
    }


async def test_an_error_names_the_last_attempt(proxy, upstream, clock):
    upstream.responds(429, headers=HINTED)

    first = await clock.run(proxy.chat("demo/small", "hi"))
    second = await clock.run(proxy.chat("demo/small", "hi"))

    assert told(first)["x-proxy-attempts"] == "2"
    assert told(first)["x-proxy-credential"] == fingerprint("key-b")
    assert told(second) == {}, "nobody was asked"


async def test_the_headers_can_be_left_out(make_proxy, upstream, clock):
    provider = {"api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"demo": provider}, "server": {"response_headers": False}})
    upstream.responds(500)
    failed = await clock.run(proxy.chat("demo/small", "hi"))
    upstream.queue.clear()

    for answer in (
        failed,
        await clock.run(proxy.chat("demo/small", "hi")),
        await clock.run(proxy.chat("demo/small", "hi", stream=True)),
    ):
        assert told(answer) == {}
        assert answer.headers["x-request-id"]


UPSTREAM_ID = "x-proxy-upstream-request-id"


@EITHER
@pytest.mark.parametrize("name", ["x-request-id", "request-id", "cf-ray"])
@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_the_upstreams_request_id_is_sent_for_its_support(proxy, upstream, name, status, stream, clock):
    upstream.responds(status, headers={name: "req_42", "content-type": "application/json"})

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.headers[UPSTREAM_ID] == "req_42"
    assert answer.headers["x-request-id"] != "req_42", "this is our own"


@pytest.mark.parametrize(("sent", "told"), [("a\x01b", "ab"), ("x" * 5000, "x" * 256), ("ümlaut", "mlaut")])
async def test_an_odd_request_id_harms_nobody(proxy, upstream, sent, told, clock):
    upstream.responds(200, headers={"x-request-id": sent})

    answer = await clock.run(proxy.chat("demo/small", "hi"))

    assert (answer.status, answer.headers[UPSTREAM_ID]) == (200, told)


async def test_without_an_upstreams_id_there_is_no_header(proxy, upstream, clock):
    upstream.for_key("key-a").resets()
    upstream.for_key("key-b").responds()

    assert UPSTREAM_ID not in (await clock.run(proxy.chat("demo/small", "hi"))).headers


async def test_a_request_id_that_repeats_our_key_does_not_give_it_away(make_proxy, upstream, clock):
    key = "a-key-that-is-long-enough-to-be-a-secret"
    upstream.responds(200, headers={"x-request-id": f"is {key}"})
    proxy = await make_proxy({"providers": {"demo": {"api_keys": [key]}}})

    answer = await clock.run(proxy.chat("demo/small", "hi"))

    assert answer.headers[UPSTREAM_ID].startswith("is ")
    assert key not in answer.headers[UPSTREAM_ID]


@pytest.mark.parametrize("status", [404, 405, 409])
async def test_what_concerns_one_endpoint_does_not_close_the_others(proxy, upstream, status, clock):
    upstream.for_path("/embeddings").responds(status, body=b"<html>no such page</html>")
    for _ in range(12):
        await clock.timed(proxy.post("/embeddings", {"model": "demo/small", "input": "x"}))

    answer, _ = await clock.timed(proxy.chat("demo/small", "hi"))
    assert answer.text == "hello"
