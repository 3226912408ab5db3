"""Which credential answers, which rests, and what the client is told when none does."""

import pytest


async def test_a_rate_limited_credential_rests_and_the_next_one_answers(proxy, upstream):
    upstream.for_key("key-a").replies(429, headers={"retry-after": "30"})
    upstream.for_key("key-b").streams("hel", "lo")

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.text == "hello"
    assert answer.done
    assert upstream.keys_seen == ["key-a", "key-b"]
    assert proxy.resting("key-a") == pytest.approx(30, abs=1)
