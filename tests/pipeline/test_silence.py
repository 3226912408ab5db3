"""An upstream that says nothing for a while, or never again."""

import pytest

from proxy_core.testing import chunk, pause, stall


@pytest.fixture
async def hasty(make_proxy):
    """A proxy with little patience."""
    timeouts = {"idle_s": 0.3, "first_event_s": 0.5}
    return await make_proxy({"providers": {"demo": {"api_keys": ["key-a"]}}, "timeouts": timeouts})


async def test_a_slow_but_living_stream_is_not_stalled(hasty, upstream, clock):
    upstream.streams(*"abcdef", gap_s=0.1)

    answer = await clock.run(hasty.chat("demo/small", "hi", stream=True))

    assert answer.text == "abcdef"
    assert answer.done


@pytest.mark.parametrize("stream", [True, False])
async def test_a_first_event_that_never_comes_is_a_504(hasty, upstream, clock, stream):
    upstream.says(stall())

    answer = await clock.run(hasty.chat("demo/small", "hi", stream=stream))

    assert answer.status == 504
    assert answer.error["code"] == "timeout"


async def test_after_a_silence_longer_than_any_wait_the_next_deployment_is_still_tried(make_proxy, upstream, clock):
    providers = {name: {"api_keys": [f"key-{name}"]} for name in ("one", "two")}
    tables = {"timeouts": {"first_event_s": 5}, "routing": {"max_wait_s": 1}}
    models = {"best": ["one/small", "two/small"], "alone": ["one/small", "one/large"]}
    proxy = await make_proxy({"providers": providers, "models": models, **tables})
    upstream.for_key("key-one").says(stall())

    answer, took_s = await clock.timed(proxy.chat("best", "hi"))

    assert (answer.text, round(took_s)) == ("hello", 5)
    assert upstream.keys_seen == ["key-one", "key-two"]


async def test_a_comment_is_not_the_first_event(hasty, upstream, clock):
    upstream.says(b": processing\n\n", stall())

    assert (await clock.run(hasty.chat("demo/small", "hi", stream=True))).status == 504


async def test_long_silence_is_filled_with_comments(make_proxy, upstream, clock):
    proxy = await make_proxy({"providers": {"demo": {"api_keys": ["key-a"]}}, "streams": {"heartbeat_s": 0.1}})
    event = chunk({"content": "hello"}, model="demo/small")
    upstream.says(event[:30], pause(0.05), event[30:], pause(0.35), chunk({}, finish="stop"), b"data: [DONE]\n\n")

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=True))

    assert answer.body.count(b": keep-alive\n\n") == 3
    assert answer.body.replace(b": keep-alive\n\n", b"").startswith(event)
    assert answer.done


async def test_clients_that_count_events_get_one_from_time_to_time(make_proxy, upstream, clock):
    proxy = await make_proxy({"providers": {"demo": {"api_keys": ["key-a"]}}, "streams": {"heartbeat_s": 15}})
    upstream.says(chunk({"content": "hello"}), pause(130), chunk({}, finish="stop"), b"data: [DONE]\n\n")

    answer = await clock.run(proxy.post("/responses", {"model": "demo/small", "input": "hi", "stream": True}))

    kinds = [event["type"] for event in answer.events]
    assert (kinds.count("response.in_progress"), answer.body.count(b": keep-alive\n\n")) == (3, 6)
    assert kinds[-1] == "response.completed"
