"""The whole proxy between an OpenAI client and a fake Qwen."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from openai import AsyncOpenAI

from proxy_core import SystemClock
from proxy_core.testing import chunk
from proxy_core.testing.credentials import StoredCredential, Vault
from proxy_plugin_qwen_code.files import QWEN_FILE
from proxy_plugin_qwen_code.lifecycle import DISCONTINUED
from proxy_plugin_qwen_code.testing import CLIENT_ID, NOT_AN_AGENT, PAGE, error

KIND = "qwen_oauth"
MODEL = "qwen_code/qwen3.7-plus"
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "data" / "credentials", [QWEN_FILE])


def add_login(vault, tokens, *, ends_in_s=3600):
    tokens = replace(tokens, expires_at=datetime.now(UTC) + timedelta(seconds=ends_in_s))
    vault.add(StoredCredential(provider="qwen_code", name="one", kind=KIND).with_tokens(tokens))


def client(proxy):
    return AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


# --- Keys --------------------------------------------------------------------------------


async def test_a_plain_response_comes_from_a_stream(start, qwen):
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "cached_tokens": 4}
    qwen.streams("hel", "lo", usage=usage)

    async with client(await start("sk-sp-a")) as openai:
        response = await openai.chat.completions.create(model=MODEL, messages=HI)

    assert response.choices[0].message.content == "hello"
    assert (response.usage.total_tokens, response.usage.prompt_tokens_details.cached_tokens) == (9, 4)
    assert qwen.chats[0].json["stream"] is True
    assert qwen.chats[0].headers["user-agent"].startswith("proxy-core/")


async def test_a_stream_with_reasoning(start, qwen):
    thought = chunk({"role": "assistant", "content": None, "reasoning_content": "hm"})
    qwen.says(thought, chunk({"content": "a"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")

    async with client(await start("sk-a")) as openai:
        asked = {"model": MODEL, "messages": HI, "reasoning_effort": "low"}
        stream = await openai.chat.completions.create(**asked, stream=True)
        deltas = [c.choices[0].delta async for c in stream if c.choices]

    assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == "hm"
    assert "".join(d.content or "" for d in deltas) == "a"
    assert (qwen.chats[0].json["enable_thinking"], qwen.chats[0].json["thinking_budget"]) == (True, 4096)


async def test_tools_plain_and_streamed(start, qwen):
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "look", "arguments": ""}}
    qwen.says(chunk({"tool_calls": [call]}), chunk({}, finish="stop"), b"data: [DONE]\n\n")

    async with client(await start("sk-a")) as openai:
        asked = {"model": MODEL, "messages": HI, "tools": [TOOL]}
        plain = await openai.chat.completions.create(**asked)
        async with openai.chat.completions.stream(**asked) as events:
            streamed = await events.get_final_completion()

    for response in (plain, streamed):
        (made,) = response.choices[0].message.tool_calls
        assert (made.function.name, made.function.arguments) == ("look", "{}")
        assert response.choices[0].finish_reason == "tool_calls"


async def test_embeddings_with_a_key(start, qwen):
    qwen.for_path("/embeddings").responds(
        200, {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]}
    )
    async with client(await start("sk-a")) as openai:
        vectors = await openai.embeddings.create(
            model="qwen_code/text-embedding-v4", input="hi", dimensions=2, encoding_format="float"
        )
    (asked,) = [request for request in qwen.requests if request.path.endswith("/embeddings")]

    assert vectors.data[0].embedding == [0.5, 1.0]
    assert asked.json == {"model": "text-embedding-v4", "input": "hi", "dimensions": 2, "encoding_format": "float"}
    assert asked.key == "sk-a"


EMBED = {"model": "qwen_code/text-embedding-v4", "input": "hi"}


async def test_embeddings_use_a_key_although_a_login_comes_first(start, qwen, vault):
    tokens = qwen.issue()
    add_login(vault, tokens)
    qwen.keys.add("sk-a")
    vectors = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    qwen.for_path("/embeddings").responds(200, vectors)
    qwen.for_path("/embeddings").responds(429, error("slow down", "limit_requests"), headers={"retry-after": "60"})
    keys = [{"key": "sk-a", "priority": 90}]
    proxy = await start(providers={"qwen_code": {"api_keys": keys, "base_url": qwen.url}})

    assert (await proxy.chat("qwen_code/coder-model", "hi")).status == 200
    first = await proxy.post("/embeddings", EMBED)
    limited = await proxy.post("/embeddings", EMBED)

    assert (first.status, limited.status) == (200, 429)
    assert {r.key for r in qwen.requests if r.path.endswith("/embeddings")} == {"sk-a"}
    assert qwen.chats[0].key == tokens.access_token.get_secret_value()


async def test_embeddings_with_a_login_alone_say_that_no_credential_can_serve_them(start, qwen, vault):
    add_login(vault, qwen.issue())
    proxy = await start()

    answer = await proxy.post("/embeddings", EMBED)

    assert (answer.status, answer.error["code"]) == (503, "no_credential")
    assert "set QWEN_CODE_API_KEY" in answer.error["message"]
    assert not qwen.requests


async def test_both_agent_headers_carry_the_same_string(start, qwen):
    dashscope = {"base_is_dashscope": True}
    plain = await start("sk-a", plugin=dashscope)
    own = await start("sk-a", plugin={**dashscope, "user_agent": "Mine/1"})
    for proxy in (plain, own):
        assert (await proxy.chat(MODEL, "hi")).status == 200

    for chat in qwen.chats:
        assert chat.headers["user-agent"] == chat.headers["x-dashscope-useragent"]
    assert [chat.headers["user-agent"].partition("/")[0] for chat in qwen.chats] == ["proxy-core", "Mine"]


async def test_keys_rotate_past_an_exhausted_window(start, qwen):
    proxy = await start("sk-sp-a", "sk-sp-b")
    qwen.for_key("sk-sp-a").responds(429, error("hour allocated quota exceeded"))
    qwen.for_key("sk-sp-b").streams("ok")

    answers = [await proxy.chat(MODEL, "hi") for _ in range(2)]

    assert [answer.text for answer in answers] == ["ok", "ok"]
    assert proxy.cooldown_s("sk-sp-a") == pytest.approx(3600, abs=5)


class Shifted(SystemClock):
    """The real time, plus what a test adds to it."""

    by_s = 0.0

    def monotonic(self):
        return super().monotonic() + self.by_s


async def test_consecutive_firewall_pages_cool_down_ever_longer_and_are_never_shown(start, qwen):
    clock = Shifted()
    proxy = await start("sk-a", routing={"max_wait_s": 1}, clock=clock)
    for _ in range(4):
        qwen.responds(403, body=PAGE, headers={"content-type": "text/html"})
    qwen.streams("ok")

    for wait_s in (5, 15, 45, 45):
        answer = await proxy.chat(MODEL, "hi")

        assert answer.status == 502
        assert "aliyun" not in answer.body.decode()
        assert proxy.cooldown_s("sk-a") == pytest.approx(wait_s, abs=1)
        assert float(answer.headers["retry-after"]) == pytest.approx(wait_s, abs=1)
        clock.by_s += wait_s
    assert (await proxy.chat(MODEL, "hi")).text == "ok"
    assert proxy.cooldown_s("sk-a") == 0


async def test_a_firewall_page_for_one_credential_leaves_the_others_in_use(start, qwen):
    proxy = await start("sk-a", "sk-b", routing={"max_wait_s": 1})
    qwen.for_key("sk-a").responds(403, body=PAGE, headers={"content-type": "text/html"})
    qwen.for_key("sk-b").streams("ok")

    answers = [await proxy.chat(MODEL, "hi") for _ in range(3)]

    assert [answer.text for answer in answers] == ["ok"] * 3
    assert [chat.key for chat in qwen.chats].count("sk-a") <= 1


async def test_a_page_with_status_200_is_no_response(start, qwen):
    proxy = await start("sk-a", "sk-b", routing={"max_wait_s": 1, "max_attempts": 1})
    qwen.responds(200, body=PAGE, headers={"content-type": "text/html"})

    for stream in (True, False):
        answer = await proxy.chat(MODEL, "hi", stream=stream)

        assert (answer.status, answer.error["code"]) == (502, "upstream_error")


async def test_a_client_that_is_not_a_coding_agent_learns_which_setting_to_change(start, qwen):
    qwen.agents = ("Known/",)
    refused, taken = await start("sk-sp-a"), await start("sk-sp-a", plugin={"user_agent": "Known/1"})

    answer = await refused.chat(MODEL, "hi")

    assert "user_agent" in answer.error["message"]
    assert NOT_AN_AGENT["error"] not in answer.error["message"]
    assert (await taken.chat(MODEL, "hi")).status == 200


async def test_models_are_asked_for(start, qwen):
    proxy = await start("sk-a")
    qwen.models = ["qwen9-new", "qwen9-image"]

    listed = [model["id"] for model in (await proxy.get("/models")).json["data"]]

    assert "qwen_code/qwen9-new" in listed
    assert "qwen_code/qwen9-image" not in listed


async def test_the_vendors_content_inspection_is_reported_to_the_client(start, qwen):
    proxy = await start("sk-a", "sk-b")
    qwen.responds(400, error("Input data may contain inappropriate content.", "data_inspection_failed"))

    answer = await proxy.chat(MODEL, "hi")

    assert (answer.status, answer.error["code"], len(qwen.chats)) == (400, "content_filter", 1)


async def test_a_request_is_retried_if_the_model_cannot_stop_thinking(start, qwen):
    proxy = await start("sk-a")
    words = "The value of the enable_thinking parameter is restricted to True."
    qwen.responds(400, error(words, "invalid_parameter_error"))
    qwen.streams("ok")

    answers = [await proxy.chat(MODEL, "hi", reasoning_effort="none") for _ in range(2)]

    assert [answer.text for answer in answers] == ["ok", "ok"]
    assert [chat.json.get("enable_thinking") for chat in qwen.chats] == [False, None, None]


async def test_what_a_provider_calls_itself_goes_out_alone(start, qwen):
    proxy = await start("sk-a", plugin={"user_agent": "Mine/1"})

    await proxy.chat(MODEL, "hi")

    assert qwen.chats[0].headers["user-agent"] == "Mine/1"


# --- Logins ------------------------------------------------------------------------------


async def test_a_login_and_a_key_work_side_by_side(start, qwen, vault):
    tokens = qwen.issue()
    add_login(vault, tokens)
    proxy = await start("sk-a")
    qwen.for_key("sk-a").responds(429, error("slow", "Throttling"))

    answer = await proxy.chat("qwen_code/coder-model", "hi")
    again = await proxy.chat("qwen_code/coder-model", "hi")

    assert (answer.status, again.status) == (200, 200)
    assert tokens.access_token.get_secret_value() in {request.key for request in qwen.chats}
    assert qwen.chats[-1].headers["x-dashscope-authtype"] == "qwen-oauth"


async def test_a_refused_token_is_refreshed_once_and_the_request_goes_on(start, qwen, vault):
    tokens = qwen.issue()
    add_login(vault, tokens)
    proxy = await start()
    qwen.for_key(tokens.access_token.get_secret_value()).responds(403, error("Token expired"))

    answers = await asyncio.gather(*(proxy.chat("qwen_code/coder-model", "hi") for _ in range(4)))

    assert [answer.status for answer in answers] == [200] * 4
    assert qwen.accepted == [tokens.refresh_token.get_secret_value()]
    assert qwen.spent_again == []


async def test_a_login_refused_after_a_refresh_cools_down_for_hours_and_says_why(start, qwen, vault):
    add_login(vault, qwen.issue())
    proxy = await start()
    qwen.responds(401, error("invalid access token or token expired"))

    answers = [await proxy.chat("qwen_code/coder-model", "hi") for _ in range(3)]

    assert {answer.status for answer in answers} == {403}
    assert all(DISCONTINUED in answer.error["message"] for answer in answers)
    assert len(qwen.accepted) == 1
    assert len(qwen.chats) == 2
    assert max(proxy.proxy.pools["qwen_code"].cooling_down().values()) > 3600


async def test_a_revoked_login_needs_a_person(start, qwen, vault):
    add_login(vault, qwen.issue(), ends_in_s=60)
    qwen.revoke_all()
    proxy = await start()

    await until(lambda: proxy.proxy.pools["qwen_code"].ledger.rows[0].needs_login)
    answer = await proxy.chat("qwen_code/coder-model", "hi")

    assert vault.all("qwen_code")[0].needs_login is not None
    assert answer.status == 403
    assert "proxy-core login qwen_code" in answer.error["message"]
    assert len(qwen.spendings) == 1


async def test_logins_come_from_variables(start, qwen):
    first, second = qwen.issue("a"), qwen.issue("b")

    def variables(number, tokens):
        prefix = f"QWEN_CODE_{number}_" if number else "QWEN_CODE_"
        return {
            f"{prefix}ACCESS_TOKEN": tokens.access_token.get_secret_value(),
            f"{prefix}REFRESH_TOKEN": tokens.refresh_token.get_secret_value(),
            f"{prefix}EXPIRY_DATE": "1",
            f"{prefix}RESOURCE_URL": qwen.base,
            f"{prefix}TOKEN_URI": f"{qwen.base}/api/v1/oauth2/token",
            f"{prefix}CLIENT_ID": CLIENT_ID,
        }

    numbered = await start(environ={**variables(1, first), **variables(2, second)}, plugin={"token_url": "http://x"})

    answers = await asyncio.gather(*(numbered.chat("qwen_code/coder-model", "hi") for _ in range(4)))

    assert [answer.status for answer in answers] == [200] * 4
    assert sorted(qwen.accepted) == sorted(t.refresh_token.get_secret_value() for t in (first, second))
    assert len(numbered.proxy.pools["qwen_code"].credentials) == 2


async def test_the_form_without_a_number_names_its_resource_too(start, qwen):
    tokens = qwen.issue()
    variables = {
        "QWEN_CODE_ACCESS_TOKEN": tokens.access_token.get_secret_value(),
        "QWEN_CODE_REFRESH_TOKEN": tokens.refresh_token.get_secret_value(),
        "QWEN_CODE_RESOURCE_URL": qwen.base,
        "QWEN_CODE_EXPIRY_DATE": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }

    answer = await (await start(environ=variables)).chat("qwen_code/coder-model", "hi")

    assert answer.status == 200
    assert [request.key for request in qwen.chats] == [tokens.access_token.get_secret_value()]


async def test_the_vendors_own_file_is_shared(start, qwen, vault, tmp_path):
    file = tmp_path / "oauth_creds.json"
    tokens = qwen.issue()
    text = {
        "access_token": tokens.access_token.get_secret_value(),
        "refresh_token": tokens.refresh_token.get_secret_value(),
        "token_type": "Bearer",
        "expiry_date": 1,
        "resource_url": qwen.base,
        "extra": "kept",
    }
    file.write_text(json.dumps(text))
    vault.import_link("qwen_code", KIND, file, QWEN_FILE)
    proxy = await start()

    answer = await proxy.chat("qwen_code/coder-model", "hi")
    written = json.loads(file.read_text())

    assert answer.status == 200
    assert written["refresh_token"] == qwen.families[0].current
    assert (written["extra"], written["token_type"]) == ("kept", "Bearer")
    assert written["expiry_date"] > datetime.now(UTC).timestamp() * 1000
    assert not (tmp_path / "oauth_creds.lock").exists()


async def test_the_vendors_lock_is_waited_for_and_its_program_may_win(start, qwen, vault, tmp_path):
    file, lock = tmp_path / "oauth_creds.json", tmp_path / "oauth_creds.lock"
    old, new = qwen.issue(), qwen.issue()

    def write(tokens, ends):
        fields = {
            "access_token": tokens.access_token.get_secret_value(),
            "refresh_token": tokens.refresh_token.get_secret_value(),
            "token_type": "Bearer",
            "expiry_date": ends,
            "resource_url": qwen.base,
        }
        file.write_text(json.dumps(fields))

    write(old, 1)
    lock.write_text("9d0e5b1c-0000-4000-8000-000000000000")
    vault.import_link("qwen_code", KIND, file, QWEN_FILE)
    proxy = await start()
    asking = asyncio.ensure_future(proxy.chat("qwen_code/coder-model", "hi"))
    await asyncio.sleep(0.3)
    write(new, int((datetime.now(UTC).timestamp() + 3600) * 1000))
    lock.unlink()

    answer = await asking

    assert answer.status == 200
    assert qwen.spendings == []
    assert [request.key for request in qwen.chats] == [new.access_token.get_secret_value()]


# --- Costs -------------------------------------------------------------------------------


async def test_a_login_costs_nothing_and_a_key_costs_what_a_price_says(start, qwen, vault):
    keys = (await start("sk-a")).proxy
    assert keys.services.prices.priced("qwen_code", "coder-model") is None
    add_login(vault, qwen.issue())
    both = (await start("sk-a")).proxy
    costs = {
        credential.kind: both.services.prices.priced("qwen_code", "coder-model", credential.id)
        for credential in both.pools["qwen_code"].credentials
    }

    assert costs["api_key"] is None
    assert costs[KIND].source == "provider"
    assert costs[KIND].price.prompt == 0.0
