"""What a client is told while every credential is cooling down: the same by every request, in every dialect."""

import time

import pytest

from proxy_core.testing import MemoryUpstream, VirtualClock, run_in_memory

DAILY = "Rate limit reached on tokens per day. Please try again in 2h."


def says(message, **fields):
    return {"error": {"message": message, "type": None, "code": None, **fields}}


#: The upstream's status, body and headers; the client's status, code and Retry-After (``None`` for none), and a piece
#: of the message.
KINDS = {
    "refused": (401, says("Incorrect API key"), {}, 403, "upstream_credential_refused", None, "demo rejected"),
    "forbidden": (403, says("No permission"), {}, 403, "upstream_credential_refused", None, "demo rejected"),
    "refused, with a limit's headers": (
        401,
        says("Incorrect API key"),
        {"retry-after": "20"},
        403,
        "upstream_credential_refused",
        None,
        "demo rejected",
    ),
    "blocked": (403, says("x", code="account_deactivated"), {}, 403, "upstream_credential_refused", None, "blocked"),
    "unpaid": (402, says("Pay"), {}, 403, "insufficient_quota", None, "demo reports that no credit"),
    "unpaid as a 429": (429, says("x", code="insufficient_quota"), {}, 403, "insufficient_quota", None, "no credit"),
    "no such model for this key": (403, says("x", code="model_not_found"), {}, 404, "model_not_found", None, "demo"),
    "a limit": (429, says("Slow down."), {"retry-after": "50"}, 429, "rate_limit_exceeded", 50, "demo is rate limited"),
    "a limit without a time": (429, says("Slow down."), {}, 429, "rate_limit_exceeded", 10, "Slow down."),
    "a daily limit": (429, says(DAILY), {"retry-after": "7200"}, 429, "rate_limit_exceeded", 7200, DAILY),
    "a weekly limit": (429, says("x"), {"retry-after": "300000"}, 429, "rate_limit_exceeded", 300_000, "demo"),
    "a quota": (
        429,
        says("You exceeded your current quota"),
        {"retry-after": "9000"},
        429,
        "insufficient_quota",
        9000,
        "You exceeded",
    ),
    "a quota without a time": (429, says("x", code="quota_exceeded"), {}, 429, "insufficient_quota", 3600, "used up"),
    "an overload with a time": (
        503,
        says("Come back."),
        {"retry-after": "40"},
        503,
        "server_is_overloaded",
        40,
        "demo is overloaded: Come back.",
    ),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
MESSAGES = [{"role": "user", "content": "hi"}]
GEMINI = {"contents": [{"parts": [{"text": "hi"}]}]}
ASKED = {
    "chat": ("/chat/completions", {"model": "demo/small", "messages": MESSAGES}),
    "chat stream": ("/chat/completions", {"model": "demo/small", "messages": MESSAGES, "stream": True}),
    "completions": ("/completions", {"model": "demo/small", "prompt": "hi"}),
    "embeddings": ("/embeddings", {"model": "demo/small", "input": "hi"}),
    "gemini": ("/models/demo/small:generateContent", GEMINI),
    "gemini stream": ("/models/demo/small:streamGenerateContent?alt=sse", GEMINI),
}
EACH_DIALECT = pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)


def settings(*keys, **more):
    return {
        "providers": {"demo": {"api_keys": list(keys)}},
        "routing": {"selector": "sequential", "max_wait_s": 1},
        **more,
    }


def reason(answer):
    """The machine-readable code, in either dialect."""
    error = answer.error
    if "details" not in error:
        return error["code"]
    return next(d["reason"] for d in error["details"] if "reason" in d).lower()


def retry_after(answer):
    told = answer.headers.get("retry-after")
    return None if told is None else int(told)


def told(answer):
    """What must not differ from one request to the next."""
    return answer.status, reason(answer), answer.error["message"], retry_after(answer)


def retry_delay(answer):
    details = answer.error.get("details", ())
    return next((d["retryDelay"] for d in details if "retryDelay" in d), None)


@EACH_KIND
@EACH_DIALECT
async def test_every_request_is_told_the_same(make_proxy, upstream, clock, kind, asked):
    status, body, headers, expected, code, retry_s, words = kind
    upstream.responds(status, body, headers=headers)
    proxy = await make_proxy(settings("key-a"))

    answers = [await clock.run(proxy.post(*asked)) for _ in range(10)]

    assert (answers[0].status, reason(answers[0]), retry_after(answers[0])) == (expected, code, retry_s)
    assert words in answers[0].error["message"]
    assert {told(answer) for answer in answers} == {told(answers[0])}
    assert len(upstream.requests) == 1
    if "details" in answers[0].error:
        assert retry_delay(answers[0]) == (None if retry_s is None else f"{retry_s}s")


@EACH_KIND
async def test_a_later_request_is_told_the_time_that_is_left(make_proxy, upstream, clock, kind):
    status, body, headers, expected, code, retry_s, _ = kind
    upstream.responds(status, body, headers=headers)
    proxy = await make_proxy(settings("key-a"))
    first = await clock.run(proxy.chat("demo/small", "hi"))
    clock.passes(5)

    second = await clock.run(proxy.chat("demo/small", "hi"))

    assert (second.status, reason(second), second.error["message"]) == (expected, code, first.error["message"])
    assert retry_after(second) == (None if retry_s is None else retry_s - 5)


@EACH_KIND
async def test_all_keys_of_one_kind_are_one_key(make_proxy, upstream, clock, kind):
    status, body, headers, expected, code, retry_s, _ = kind
    upstream.responds(status, body, headers=headers)
    proxy = await make_proxy(settings("key-a", "key-b", "key-c"))

    answers = [await clock.run(proxy.chat("demo/small", "hi")) for _ in range(3)]

    assert {(*told(answer),) for answer in answers} == {told(answers[0])}
    assert told(answers[0])[:2] == (expected, code)
    assert retry_after(answers[0]) == retry_s


@EACH_KIND
async def test_a_failed_probe_changes_nothing(make_proxy, upstream, clock, kind):
    """The interval at which the proxy probes a long cooldown is its own business."""
    status, body, headers, expected, code, retry_s, _ = kind
    upstream.responds(status, body, headers=headers)
    proxy = await make_proxy(settings("key-a", routing={"max_wait_s": 0, "half_open_after_s": 3}))
    await clock.run(proxy.chat("demo/small", "hi"))
    asked = len(upstream.requests)
    clock.passes(4)
    if retry_s is not None and retry_s > 100:
        headers = {**headers, "retry-after": str(retry_s - 4)} if headers else headers
        upstream.queue.clear()
        upstream.responds(status, body, headers=headers)

    probed = await clock.run(proxy.chat("demo/small", "hi"))
    after = await clock.run(proxy.chat("demo/small", "hi"))

    assert (probed.status, reason(probed)) == (after.status, reason(after)) == (expected, code)
    assert told(after) == told(probed)
    assert len(upstream.requests) == asked + 1


@EACH_KIND
async def test_a_restart_changes_nothing(kind, tmp_path):
    status, body, headers, *_ = kind
    clock = VirtualClock(float(int(time.time())))  # the file's own clock is the real one
    upstream = MemoryUpstream(clock)
    upstream.responds(status, body, headers=headers)
    tables = settings("key-a", state={"url": f"sqlite:///{tmp_path}/state.db", "secret": "s"})

    answers = []
    for _ in range(2):
        async with run_in_memory(tables, upstream, folder=tmp_path, clock=clock) as proxy:
            answers.append([told(await clock.run(proxy.post(*asked))) for asked in ASKED.values()])

    assert answers[0] == answers[1]
    assert len(upstream.requests) == 1


# --- Of different kinds ----------------------------------------------------------------------

MIXED = {
    "refused and limited": ("refused", "a limit", "a limit"),
    "unpaid and limited": ("unpaid", "a limit", "a limit"),
    "two limits": ("a limit", "a daily limit", "a limit"),
    "a limit and a quota": ("a limit", "a quota", "a limit"),
    "a quota and a refusal": ("a quota", "refused", "a quota"),
    "no model and a limit": ("no such model for this key", "a limit", "a limit"),
    "a time and a guess": ("a daily limit", "a limit without a time", "a limit without a time"),
}


@EACH_DIALECT
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED)
async def test_of_several_reasons_the_one_that_ends_first_is_told(make_proxy, upstream, clock, mixed, turned, asked):
    one, two, first = mixed
    for key, name in zip(("key-a", "key-b"), (two, one) if turned else (one, two), strict=True):
        status, body, headers, *_ = KINDS[name]
        upstream.for_key(key).responds(status, body, headers=headers)
    proxy = await make_proxy(settings("key-a", "key-b"))
    *_, expected, code, retry_s, words = KINDS[first]

    answers = [await clock.run(proxy.post(*asked)) for _ in range(3)]

    assert told(answers[0])[:2] == (expected, code)
    assert words in answers[0].error["message"]
    assert retry_after(answers[0]) == retry_s
    assert {told(answer) for answer in answers} == {told(answers[0])}
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED)
async def test_a_restart_does_not_change_which_is_told(tmp_path, mixed):
    clock = VirtualClock(float(int(time.time())))
    upstream = MemoryUpstream(clock)
    for key, name in zip(("key-a", "key-b"), mixed[:2], strict=True):
        status, body, headers, *_ = KINDS[name]
        upstream.for_key(key).responds(status, body, headers=headers)
    tables = settings("key-a", "key-b", state={"url": f"sqlite:///{tmp_path}/state.db", "secret": "s"})

    answers = []
    for _ in range(2):
        async with run_in_memory(tables, upstream, folder=tmp_path, clock=clock) as proxy:
            answers.append(told(await clock.run(proxy.chat("demo/small", "hi"))))

    assert answers[0] == answers[1]
    assert len(upstream.requests) == 2


async def test_two_reasons_that_waiting_does_not_end_stay_one_answer(make_proxy, upstream, clock):
    upstream.for_key("key-a").responds(401)
    upstream.for_key("key-b").responds(402)
    proxy = await make_proxy(settings("key-a", "key-b"))

    answers = [await clock.run(proxy.chat("demo/small", "hi")) for _ in range(3)]

    assert {answer.status for answer in answers} == {403}
    assert len({told(answer) for answer in answers}) == 1


async def test_deployments_are_mixed_like_keys(make_proxy, upstream, clock):
    upstream.for_key("key-1").responds(401)
    upstream.for_key("key-2").responds(429, headers={"retry-after": "70"})
    providers = {"one": {"api_keys": ["key-1"]}, "two": {"api_keys": ["key-2"]}}
    proxy = await make_proxy({"providers": providers, "models": {"best": ["one/a", "two/b"]}})

    answers = [await clock.run(proxy.chat("best", "hi")) for _ in range(3)]

    assert {told(answer)[0] for answer in answers} == {429}
    assert "two is rate limited" in answers[0].error["message"]
    assert len({told(answer) for answer in answers}) == 1


# --- What agents do with it ------------------------------------------------------------------


@pytest.mark.parametrize("asked", [ASKED["chat"], ASKED["gemini"]], ids=["chat", "gemini"])
@pytest.mark.parametrize("name", ["refused", "unpaid", "unpaid as a 429", "blocked"])
async def test_a_refusal_has_nothing_that_keeps_agents_going(make_proxy, upstream, clock, name, asked):
    """Words that agents look for in an error's text, anywhere, to decide whether to try again."""
    status, body, headers, *_ = KINDS[name]
    upstream.responds(status, body, headers=headers)
    proxy = await make_proxy(settings("key-a"))

    for _ in range(2):
        answer = await clock.run(proxy.post(*asked))
        text = answer.body.decode().lower()
        for word in ("rate limit", "rate_limit", "too many requests", "429", "server_error", "terminated"):
            assert word not in text
        assert "retry-after" not in answer.headers


async def test_the_upstreams_own_time_is_in_the_message(make_proxy, upstream, clock):
    upstream.responds(429, headers={"retry-after": "7200"})
    proxy = await make_proxy(settings("key-a"))

    answer = await clock.run(proxy.chat("demo/small", "hi"))

    assert "Available again at 1970-01-01T02:" in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("said", ["Slow down", "Slow down.", "Slow down!"])
async def test_what_is_added_to_an_upstreams_words_is_a_sentence_of_its_own(make_proxy, upstream, clock, said):
    upstream.responds(429, says(said), headers={"retry-after": "7200"})
    proxy = await make_proxy(settings("key-a"))

    message = (await clock.run(proxy.chat("demo/small", "hi"))).error["message"]

    assert f"{said.rstrip('.!')}{said[-1] if said[-1] in '.!' else '.'} Available again at" in message


async def test_the_upstreams_type_and_code_are_kept(make_proxy, upstream, clock):
    upstream.responds(429, says("x", type="tokens", code="tpm_limit"), headers={"retry-after": "50"})
    proxy = await make_proxy(settings("key-a"))

    answers = [await clock.run(proxy.chat("demo/small", "hi")) for _ in range(2)]

    for answer in answers:
        assert (answer.error["type"], answer.error["code"]) == ("tokens", "rate_limit_exceeded")
        assert answer.error["upstream_code"] == "tpm_limit"


@pytest.mark.parametrize("value", ["has spaces", "x" * 65, "<b>", 'quo"te', "", 7, None, ["x"]])
async def test_a_type_that_is_no_name_is_left_out(make_proxy, upstream, clock, value):
    upstream.responds(429, says("x", type=value), headers={"retry-after": "50"})
    proxy = await make_proxy(settings("key-a"))

    assert (await clock.run(proxy.chat("demo/small", "hi"))).error["type"] == "requests"


async def test_a_guess_does_not_freeze_a_client_for_minutes(make_proxy, upstream, clock):
    upstream.responds(429)
    proxy = await make_proxy(settings("key-a", routing={"max_wait_s": 0}))
    told = []
    for _ in range(5):
        answer = await clock.run(proxy.chat("demo/small", "hi"))
        told.append(retry_after(answer))
        clock.passes(proxy.cooldown_s("key-a"))

    assert told == [10, 30, 60, 60, 60]
