"""The account that serves is the one whose quota would be lost first."""

import pytest
from pydantic import SecretStr

from proxy_core import (
    Candidate,
    Credential,
    Provider,
    ProxyRequest,
    SettingsError,
    UpstreamRequest,
    json_bytes,
)
from proxy_core.testing import VirtualClock, plugin_with
from proxy_plugin_soonest_reset import select

REQUEST = ProxyRequest(id="r", client="c", dialect="openai_chat", model="m", stream=False, body={})
HOUR_S, WEEK_S = 3600.0, 7 * 24 * 3600.0


def candidate(name, *, limit=None, used=0, resets_in_s=None, in_flight=0):
    credential = Credential(id=name, provider="demo", kind="api_key", secret=SecretStr("s"), label=name)
    return Candidate(
        credential=credential, in_flight=in_flight, used=used, last_used=0.0, limit=limit, resets_in_s=resets_in_s
    )


def chosen(*candidates):
    return select(candidates, REQUEST).credential.id


def test_the_window_that_ends_first_is_spent_first():
    weekly = candidate("weekly", limit=1000, resets_in_s=WEEK_S)
    hourly = candidate("hourly", limit=10, used=9, resets_in_s=HOUR_S)

    assert chosen(weekly, hourly) == "hourly"


def test_an_exhausted_credential_comes_last():
    spent = candidate("spent", limit=10, used=10, resets_in_s=60)
    unknown = candidate("unknown", used=1)
    weekly = candidate("weekly", limit=1000, used=5, resets_in_s=WEEK_S)

    assert chosen(spent, unknown, weekly) == "weekly"
    assert chosen(spent, unknown) == "unknown"
    assert chosen(spent, candidate("sooner", limit=1, used=1, resets_in_s=5)) == "sooner"


@pytest.mark.parametrize("known", [{"limit": 10}, {"resets_in_s": 5}, {}], ids=str)
def test_where_quota_is_unknown_one_request_is_spent_to_learn_it(known):
    weekly = candidate("weekly", limit=9, resets_in_s=WEEK_S)

    assert chosen(weekly, candidate("half known", **known)) == "half known"
    assert chosen(candidate("half known", used=1, **known), weekly) == "weekly"


def test_ties_go_to_the_least_busy_then_the_least_used_then_the_first():
    assert chosen(candidate("busy", in_flight=2, used=1), candidate("idle", in_flight=1, used=9)) == "idle"
    assert chosen(candidate("more", used=3), candidate("less", used=2)) == "less"
    assert chosen(candidate("first"), candidate("second")) == "first"


def limits(limit, left, reset):
    """Headers that say how much of a window is left, and when it resets."""
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": reset,
    }


def encode(upstream):
    def encoded(call, credential):
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        return UpstreamRequest(url=upstream.url + "/chat/completions", headers=headers, content=json_bytes(call.body))

    return encoded


async def test_what_responses_report_decides(make_proxy, upstream):
    demo = Provider(name="demo", encode=encode(upstream), dialects=["openai_chat"])
    tables = {
        "providers": {"demo": {"api_keys": ["key-week", "key-hour"]}},
        "routing": {"selector": "soonest_reset"},
        "plugins": {"disabled": ["openai_compat"]},
    }
    proxy = await make_proxy(tables, modules=[plugin_with(proxy_providers=[demo])])
    for left in (999, 998):
        upstream.for_key("key-week").responds(headers=limits(1000, left, "600s"))
    for left in (2, 1, 0):
        upstream.for_key("key-hour").responds(headers=limits(3, left, "60s"))

    for _ in range(5):
        assert (await proxy.chat("demo/small", "hi")).status == 200

    # Each once to learn its quota, then the one that resets first until it is exhausted, then the other.
    assert upstream.keys_seen == ["key-week", "key-hour", "key-hour", "key-hour", "key-week"]


async def test_of_several_windows_the_one_with_the_least_left_counts(make_proxy, upstream):
    """Five hours and a week, each from an account's first request, both known from caps alone."""
    clock = VirtualClock(1_000_000.0)
    rotation = {
        "quota_window_s": 5 * HOUR_S,
        "quota_window_begins": "first_request",
        "windows": [{"name": "weekly", "length_s": WEEK_S, "begins": "first_request"}],
        "caps": [{"limit": 10}, {"limit": 16, "window": "weekly"}],
    }
    provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"], "rotation": rotation}
    proxy = await make_proxy({"providers": {"demo": provider}, "routing": {"selector": "soonest_reset"}}, clock=clock)

    async def served(requests):
        before = len(upstream.keys_seen)
        for _ in range(requests):
            assert (await proxy.chat("demo/small", "hi")).status == 200
        return "".join(key[-1] for key in upstream.keys_seen[before:])

    assert await served(1) == "a"
    clock.passes(HOUR_S)
    assert await served(13) == "b" + 9 * "a" + 3 * "b"  # what is left of a's five hours is lost first
    clock.passes(4 * HOUR_S)
    # a has five new hours, but little is left of its week, which ends in six days; b's five hours end in one.
    assert await served(8) == 6 * "b" + 2 * "a"


async def test_it_is_named_where_selectors_are_chosen(make_proxy):
    await make_proxy({"routing": {"selector": "soonest_reset"}})
    with pytest.raises(SettingsError, match="balanced, sequential, soonest_reset, sticky"):
        await make_proxy({"routing": {"selector": "soonest"}})
