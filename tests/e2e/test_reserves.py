"""Quotas of which settings keep a part for some clients: who is served, and what the others are told."""

from datetime import UTC, datetime

import pytest
from msgspec import convert

from proxy_core import ProcessStatus, SettingsError
from proxy_core.testing import VirtualClock
from proxy_plugin_doctor import why
from proxy_plugin_doctor.quotas import left, quotas_of

ADMIN = "the-admin-key"
KEYS = {"test": "test-client-key", "agent": "agent-client-key", "guest": "guest-client-key"}
DAY = 86_400


@pytest.fixture
def clock():
    """Stands at 18:00 UTC."""
    return VirtualClock(100 * DAY + 18 * 3600.0)


@pytest.fixture
def reserving(make_proxy, upstream, clock):
    async def make(*reserves, keys=("key-a",), caps=({"limit": 5},), clock=clock, max_wait_s=20, **rotation):
        provider = {
            "base_url": upstream.url,
            "api_keys": [{"key": key, "label": key.replace("key", "account")} for key in keys],
            "rotation": {"reserves": list(reserves), "caps": list(caps), **rotation},
        }
        clients = {name: {"key": key} for name, key in KEYS.items()}
        routing = {"selector": "sequential", "max_wait_s": max_wait_s}
        tables = {"providers": {"demo": provider}, "clients": clients, "routing": routing, "admin": {"key": ADMIN}}
        return await make_proxy(tables, clock=clock)

    return make


async def ask(proxy, client="guest", **fields):
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], **fields}
    return await proxy.post("/chat/completions", body, key=KEYS[client])


async def statuses(proxy, *clients, **fields):
    return [(await ask(proxy, client, **fields)).status for client in clients]


async def test_the_last_part_of_a_quota_is_kept_for_the_clients_that_settings_name(reserving):
    proxy = await reserving({"clients": ["agent"], "share": 0.4})

    assert await statuses(proxy, "guest", "agent", "guest") == [200, 200, 200]
    assert await statuses(proxy, "guest", "agent", "test", "agent") == [429, 200, 429, 200]
    assert await statuses(proxy, "agent") == [429]  # the cap itself


@pytest.mark.parametrize("stream", [False, True])
async def test_the_others_are_told_who_must_act_and_until_when(reserving, upstream, stream):
    proxy = await reserving({"clients": ["agent"], "share": 0.4})
    await statuses(proxy, "guest", "guest", "guest")
    seen = len(upstream.requests)
    answer = await ask(proxy, stream=stream)

    assert len(upstream.requests) == seen
    assert (answer.status, answer.headers["retry-after"]) == (429, str(6 * 3600))
    assert "demo is kept for other clients; its operator may change that" in answer.error["message"]
    assert "1970-04-12T00:00:00Z" in answer.error["message"]
    assert "agent" not in answer.error["message"]


async def test_after_the_reset_everybody_is_served(reserving, clock):
    proxy = await reserving({"clients": ["agent"], "share": 0.4})
    await statuses(proxy, "guest", "guest", "guest", "guest")
    clock.passes(6 * 3600 + 1)

    assert await statuses(proxy, "guest") == [200]


async def test_the_next_credential_serves_where_one_is_kept(reserving, upstream):
    proxy = await reserving({"clients": ["agent"], "share": 0.4, "credentials": ["account-a"]}, keys=["key-a", "key-b"])

    assert await statuses(proxy, *["guest"] * 5, "agent") == [200] * 6
    assert upstream.keys_seen == ["key-a"] * 3 + ["key-b"] * 2 + ["key-b"]
    assert await statuses(proxy, *["agent"] * 4) == [200] * 4
    assert upstream.keys_seen.count("key-a") == 5


async def test_a_whole_credential_is_kept_and_no_error_tells_to_wait(reserving, upstream):
    proxy = await reserving({"clients": ["ag*"], "credentials": ["account-a"]}, caps=[])
    refused = await ask(proxy)

    assert (refused.status, refused.error["code"]) == (403, "reserved")
    assert "retry-after" not in refused.headers
    assert upstream.requests == []
    assert await statuses(proxy, "agent") == [200]


async def test_each_window_of_a_quota_or_only_one_is_kept(reserving):
    windows = [{"name": "weekly", "length_s": 7 * DAY}]
    caps = [{"limit": 100}, {"limit": 5, "window": "weekly"}]
    every = await reserving({"clients": ["agent"], "share": 0.4}, caps=caps, windows=windows)
    main = await reserving({"clients": ["agent"], "share": 0.4, "window": ""}, caps=caps, windows=windows)

    assert await statuses(every, *["guest"] * 4) == [200, 200, 200, 429]
    assert await statuses(main, *["guest"] * 4) == [200, 200, 200, 200]


async def test_of_several_reserves_the_smallest_one_in_force_decides(reserving):
    last = {"clients": ["agent"], "share": 0.2}
    proxy = await reserving({"clients": ["test", "agent"], "share": 0.4}, last, caps=[{"limit": 10}])
    await statuses(proxy, *["guest"] * 6)

    assert await statuses(proxy, "guest", "test", "test", "test", "agent") == [429, 200, 200, 429, 200]


async def test_a_limit_that_the_provider_reports_is_kept_a_part_of(reserving, upstream):
    def left(remaining):
        headers = {"x-ratelimit-limit-requests": "100", "x-ratelimit-reset-requests": "1h"}
        return {**headers, "x-ratelimit-remaining-requests": str(remaining)}

    upstream.responds(headers=left(30), json_body={"choices": [{"message": {"content": "x"}}]})
    upstream.responds(headers=left(10), json_body={"choices": [{"message": {"content": "x"}}]})
    proxy = await reserving({"clients": ["agent"], "share": 0.2}, caps=[])

    assert await statuses(proxy, "guest", "guest", "guest", "agent") == [200, 200, 429, 200]


async def test_without_a_known_limit_no_part_is_kept(reserving):
    proxy = await reserving({"clients": ["agent"], "share": 0.9}, caps=[])

    assert await statuses(proxy, *["guest"] * 12) == [200] * 12


async def test_other_models_are_not_kept(reserving):
    proxy = await reserving({"clients": ["agent"], "models": "large"}, caps=[])

    assert await statuses(proxy, "guest") == [200]
    assert await statuses(proxy, "guest", model="demo/large") == [403]


async def test_why_and_explain_say_reserved(reserving):
    proxy = await reserving({"clients": ["agent"], "share": 0.4}, clock=None)
    await statuses(proxy, "guest", "guest", "guest")
    request_id = (await ask(proxy)).headers["x-request-id"]
    root = proxy.url.removesuffix("/v1")
    operator = {"authorization": f"Bearer {ADMIN}"}

    async def get(path):
        return (await proxy.client.get(root + path, headers=operator)).json()

    async def dry(**body):
        body = {"model": "demo/small", **body}
        answer = await proxy.client.post(f"{root}/admin/explain", json=body, headers=operator)
        return answer.json()["processes"][0]["steps"][0]

    (process,) = (await get("/admin/why?model=demo%2Fsmall"))["processes"]
    (credential,) = process["deployments"][0]["credentials"]
    (decision,) = (await get(f"/admin/explain/{request_id}"))["decisions"]
    (status,) = (await get("/admin/status"))["processes"]
    (quota,) = next(one for one in status["providers"] if one["name"] == "demo")["credentials"][0]["quotas"]

    assert (credential["state"], credential["reserved"]["for"]) == ("reserved", ["agent"])
    assert "\n".join(why._described(process["deployments"][0])).endswith("kept for agent")
    assert (decision["excluded"][0]["reason"], decision["chosen"]) == ("reserved", None)
    assert decision["excluded"][0]["left_s"] > 0
    assert quota["reserved_for"] == ["agent"]
    assert (await dry())["excluded"][0]["reason"] == "reserved"
    assert "would_send" in await dry(client="agent")


@pytest.mark.parametrize(
    ("reserve", "words"),
    [
        (
            {"clients": ["nobody"]},
            "rotation.reserves[0].clients: 'nobody' is none of test, agent, guest",
        ),
        ({"clients": ["agent"], "window": "x"}, "reserves[0].window: 'x' is not defined: "),
    ],
)
async def test_a_reserve_for_nobody_or_of_no_window_is_a_mistake(reserving, reserve, words):
    with pytest.raises(SettingsError, match=words.replace("[", r"\[").replace("]", r"\]")):
        await reserving(reserve)


async def test_a_request_that_waits_is_served_when_its_window_resets(reserving):
    """In real time: the window ends long before a request has waited enough."""
    short = {"clock": None, "quota_window_s": 0.8, "max_wait_s": 20}
    proxy = await reserving({"clients": ["agent"], "share": 0.5}, caps=[{"limit": 2}], **short)

    assert await statuses(proxy, *["guest"] * 4) == [200] * 4


async def test_reserves_change_with_a_reload(reserving):
    proxy = await reserving({"clients": ["agent"]}, caps=[])
    pool = proxy.proxy.pools["demo"]
    assert await statuses(proxy, "guest") == [403]
    pool.configure(pool.credentials, type(pool.ledger.policy)(pool.ledger.policy.selector))

    assert await statuses(proxy, "guest", "agent") == [200, 200]


# --- Caps without reserves ---------------------------------------------------------------


async def standing(proxy):
    """The demo credential's quota as ``usage`` and ``/v1/quota-stats`` show it."""
    root, operator = proxy.url.removesuffix("/v1"), {"authorization": f"Bearer {ADMIN}"}
    answer = (await proxy.client.get(f"{root}/admin/status", headers=operator)).json()
    status = convert(answer["processes"][0], ProcessStatus)
    stats = (await proxy.get("/quota-stats", key=KEYS["guest"])).json["providers"]["demo"]
    (credential,) = stats["credentials"].values()
    return left(quotas_of([status])), credential, stats["quota_groups"]


async def test_a_cap_is_shown_as_the_limit_and_the_error_says_when_it_ends(reserving):
    proxy = await reserving(caps=[{"limit": 4}])
    await statuses(proxy, "guest", "guest", "guest")
    [row], credential, groups = await standing(proxy)
    refused = [await ask(proxy) for _ in range(2)][-1]
    [after], used_up, _ = await standing(proxy)

    assert row[3:9] == ("small", "-", "3", "4", "25%", "1970-04-12T00:00:00+00:00")
    assert credential["status"] == "active"
    assert credential["windows"]["small"]["limit"] == 4
    assert credential["group_usage"]["small"]["windows"]["quota"]["remaining"] == 1
    assert groups["small"]["windows"]["quota"] == {
        **{"total_used": 3, "total_remaining": 1, "total_max": 4},
        "remaining_pct": 25.0,
    }
    assert refused.status == 429
    assert refused.json["error"]["message"].endswith(
        "The limit that is set for demo is reached. Available again at 1970-04-12T00:00:00Z."
    )
    assert after[5:8] == ("4", "4", "0%")
    assert used_up["status"] == "exhausted"


async def test_a_sliding_window_is_shown_whole_and_resets_when_a_request_is_possible(reserving, clock):
    proxy = await reserving(caps=[{"limit": 4}], quota_window_s=1000, quota_window_begins="sliding", max_wait_s=0)
    begins = clock.now().timestamp() // 1000 * 1000 + 1000
    clock.passes(begins - clock.now().timestamp() + 500)  # the middle of a part
    await statuses(proxy, "guest", "guest")
    [half], _, _ = await standing(proxy)
    await statuses(proxy, "guest", "guest")
    [full], credential, _ = await standing(proxy)
    refused = await ask(proxy)
    clock.passes(501)  # the next part has begun, and no request yet
    [next_part], _, _ = await standing(proxy)
    too_early = (await ask(proxy)).status
    clock.passes(250)
    allowed = (await ask(proxy)).status

    assert half[5:9] == ("2", "4", "50%", iso(begins + 2000)), "then neither of them counts"
    assert full[5:9] == ("4", "4", "0%", iso(begins + 1250)), "then only three of the four still count"
    assert credential["group_usage"]["small"]["windows"]["quota"]["reset_at"] == begins + 1250
    assert refused.json["error"]["message"].endswith(f"Available again at {iso(begins + 1250)[:-6]}Z.")
    assert next_part[5:] == full[5:]
    assert (too_early, allowed) == (429, 200)


def iso(epoch):
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds")
