"""Which credential answers and which rests, over sockets; what else there is of it is in ``tests/pipeline``."""

import json
import time

import pytest

from proxy_core.testing import chunk, cut, pause

HINTED = {"retry-after": "30"}


def one_key_each(upstream, *, retries=1):
    """Two providers with one key each, and a model that both can serve."""
    providers = {
        name: {"base_url": upstream.url, "api_keys": [f"key-{name}"], "discover": False} for name in ("one", "two")
    }
    routing = {"attempts_per_credential": retries, "max_wait_s": 1, "retry_delay_s": 0.01, "retry_jitter_s": 0}
    return {"providers": providers, "models": {"best": ["one/small", "two/small"]}, "routing": routing}


def in_flight(proxy):
    return sum(pool.in_flight for pool in proxy.proxy.pools.values())


async def test_a_rate_limited_credential_cools_down_and_the_next_one_answers(proxy, upstream):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "30"})
    upstream.for_key("key-b").streams("hel", "lo")

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.text == "hello"
    assert answer.done
    assert upstream.keys_seen == ["key-a", "key-b"]
    assert 10 < proxy.cooldown_s("key-a") <= 30


BEFORE_CONTENT = {
    "a status": lambda key: key.responds(500),
    "a reset": lambda key: key.resets(),
    "a cut before the first event": lambda key: key.says(b": wait\n\n", pause(0.01), cut()),
    "an error as the first event": lambda key: key.says(b'data: {"error":{"message":"no","code":500}}\n\n'),
    "no end of an empty stream": lambda key: key.says(b": wait\n\n"),
}


@pytest.mark.parametrize("fails", BEFORE_CONTENT.values(), ids=BEFORE_CONTENT)
async def test_a_model_fails_over_until_its_first_content(make_proxy, upstream, fails):
    fails(upstream.for_key("key-one"))
    upstream.for_key("key-two").streams("fine")
    proxy = await make_proxy(one_key_each(upstream))

    answer = await proxy.chat("best", "hi", stream=True)

    assert (answer.text, answer.done) == ("fine", True)
    assert upstream.keys_seen == ["key-one", "key-two"]


AFTER_CONTENT = {
    "a cut": [cut()],
    "an error event": [b'data: {"error":{"message":"no","code":429}}\n\n'],
    "a missing end": [],
}


@pytest.mark.parametrize("steps", AFTER_CONTENT.values(), ids=AFTER_CONTENT)
async def test_no_attempt_is_repeated_after_the_first_content(make_proxy, upstream, steps):
    upstream.for_key("key-one").says(chunk({"content": "hel"}), pause(0.02), *steps)
    proxy = await make_proxy(one_key_each(upstream, retries=3))

    answer = await proxy.chat("best", "hi", stream=True)

    assert answer.text == "hel"
    assert answer.error["message"]
    assert not answer.done
    assert upstream.keys_seen == ["key-one"]
    assert in_flight(proxy) == 0


async def test_rotation_after_a_429_takes_only_a_moment(make_proxy, upstream):
    """10 ms are wanted of computing, which a busy machine stays out of; nothing is waited for, says tests/pipeline."""
    limited = [f"key-{n}" for n in range(10)]
    for key in limited:
        upstream.for_key(key).responds(429, headers=HINTED)
    provider = {"base_url": upstream.url, "api_keys": [*limited, "key-fine"]}
    rotation = {"fair_cycle": False}
    proxy = await make_proxy(
        {"providers": {"demo": {**provider, "rotation": rotation}}, "routing": {"selector": "sequential"}}
    )
    await proxy.chat("demo/warm", "hi")

    failing = sorted([await _took_s(proxy, f"demo/model-{n}") for n in range(11)])
    plain = sorted([await _took_s(proxy, f"demo/model-{n}") for n in range(11)])

    assert len(upstream.requests) == 12 * 11 + 11
    assert (failing[5] - plain[5]) / len(limited) < 0.010


async def _took_s(proxy, model):
    began = time.process_time()
    assert (await proxy.chat(model, "hi")).status == 200
    return time.process_time() - began


ODD_NAMES = {
    "a line end": "a\r\nset-cookie: x=1\r\n\r\n<b>",
    "no ASCII": "modèle-\u2028-\x00",
    "spaces around": "  small \t",
    "nothing left": "\u00e9",
    "as long as it may be": "x" * 251,
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
async def test_no_header_carries_what_a_models_name_smuggles(proxy, upstream, name, stream):
    answer = await proxy.chat(f"demo/{name}", "hi", stream=stream)

    assert (answer.status, answer.text) == (200, "hello")
    assert upstream.last.json["model"] == name
    assert "set-cookie" not in answer.headers
    assert len(answer.headers.get("x-proxy-model", "")) <= 256
    assert len(json.dumps(dict(answer.headers))) < 2_000
