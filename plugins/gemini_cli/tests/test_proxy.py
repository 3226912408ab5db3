"""Real clients through the whole proxy to a fake Google, by both providers."""

import asyncio
import json
import warnings
from datetime import UTC, datetime, timedelta

import openai
import pytest

from proxy_core.testing import cut, pause
from proxy_core.testing.credentials import described
from proxy_plugin_gemini.testing import API_KEY, call, error_body, finish, info, raw, retry, text
from proxy_plugin_gemini_cli.testing import PROJECT, Bucket

pytestmark = pytest.mark.anyio

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"$ref": "#/$defs/City"}, "days": {"type": ["integer", "null"], "const": 1}},
                "required": ["city"],
                "additionalProperties": False,
                "$defs": {"City": {"type": "string"}},
            },
        },
    }
]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(params=["gemini_cli", "gemini"])
def provider(request):
    return request.param


@pytest.fixture
async def proxy(start, login):
    login()
    return await start()


@pytest.fixture
async def client(proxy):
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as made:
        yield made


def sent(google, at=-1):
    """The inner request of the last request for content."""
    contents = [r for r in google.requests if "enerateContent" in r.path]
    body = contents[at].json
    return body.get("request", body)


async def test_a_stream(client, google, provider):
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model=f"{provider}/gemini-2.5-pro",
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    ]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "hello"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 22, 31)
    assert usage.completion_tokens_details.reasoning_tokens == 20
    assert sent(google)["systemInstruction"]["parts"] == [{"text": "Be brief."}]


async def test_a_plain_response(client, google, provider):
    response = await client.chat.completions.create(
        model=f"{provider}/gemini-2.5-pro", messages=[{"role": "user", "content": "hi"}]
    )

    assert response.choices[0].message.content == "hello"
    assert response.usage.total_tokens == 31


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-3-pro-preview"])
@pytest.mark.parametrize("echoes", [True, False], ids=["signatures sent back", "signatures lost"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
async def test_tools_over_several_turns(client, google, provider, model, echoes, stream):
    messages = [{"role": "user", "content": "Weather in Oslo?"}]
    google.answers(text("Hm", thought=True), call("get_weather", {"city": "Oslo"}), finish())
    google.answers(call("get_weather", {"city": "Rome"}), call("get_weather", {"city": "Bern"}, signed=False), finish())
    for _ in range(3):
        message = await turn(client, f"{provider}/{model}", messages, stream)
        if not message.get("tool_calls"):
            break
        for made in message["tool_calls"]:
            assert made["type"] == "function"
            if not echoes:
                made.pop("extra_content", None)
        messages.append(message)
        messages += [
            {"role": "tool", "tool_call_id": made["id"], "content": '{"temperature": 3}'}
            for made in reversed(message["tool_calls"])
        ]

    assert message["content"] == "hello"
    parts = [part for content in sent(google)["contents"] for part in content["parts"] if "functionCall" in part]
    assert [part["functionCall"]["args"]["city"] for part in parts] == ["Oslo", "Rome", "Bern"]
    assert parts[0]["thoughtSignature"] in google.signatures
    assert parts[1]["thoughtSignature"] in google.signatures


async def turn(client, model, messages, stream):
    response = await client.chat.completions.create(model=model, messages=messages, tools=TOOLS, stream=stream)
    if not stream:
        return response.choices[0].message.model_dump(exclude_none=True)
    message = {"role": "assistant", "content": None, "tool_calls": []}
    async for chunk in response:
        for choice in chunk.choices:
            if choice.delta.content:
                message["content"] = (message["content"] or "") + choice.delta.content
            for made in choice.delta.tool_calls or ():
                if made.index == len(message["tool_calls"]):
                    assert made.id and made.type == "function" and made.function.name
                    message["tool_calls"].append({k: v for k, v in made.model_dump().items() if k != "index" and v})
                else:
                    message["tool_calls"][made.index]["function"]["arguments"] += made.function.arguments
    if not message["tool_calls"]:
        del message["tool_calls"]
    return message


async def test_signatures_of_one_client_are_not_anothers(start, login, google):
    login()
    keys = {"one": {"key": "key-one-key-one"}, "two": {"key": "key-two-key-two"}}
    proxy = await start(clients=keys)
    messages = [{"role": "user", "content": "Weather?"}]
    google.answers(call("get_weather", {"city": "Oslo"}, id="fc-1"), finish())
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key="key-one-key-one") as one:
        message = await turn(one, "gemini_cli/gemini-3-pro-preview", messages, False)
    assert message["tool_calls"][0].pop("extra_content")["google"]["thought_signature"] in google.signatures
    messages += [message, {"role": "tool", "tool_call_id": "fc-1", "content": "3"}]
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key="key-two-key-two") as two:
        await turn(two, "gemini_cli/gemini-3-pro-preview", messages, False)

    (part,) = [p for c in sent(google)["contents"] for p in c["parts"] if "functionCall" in p]
    assert part["thoughtSignature"] == "skip_thought_signature_validator"


async def test_structured_output(client, google, provider):
    google.answers(text('{"city": "Oslo"}'), finish())
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    response = await client.chat.completions.create(
        model=f"{provider}/gemini-2.5-flash",
        messages=[{"role": "user", "content": "Where?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}},
    )

    assert json.loads(response.choices[0].message.content) == {"city": "Oslo"}
    config = sent(google)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["city"] == {"type": "string"}


async def test_an_image(client, google, provider):
    await client.chat.completions.create(
        model=f"{provider}/gemini-2.5-flash",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            }
        ],
    )

    assert sent(google)["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": PNG}}


async def test_names_that_gemini_refuses_come_back_as_they_were(client, google, provider):
    tools = [{"type": "function", "function": {"name": "9 lives/of a cat", "parameters": {"type": "object"}}}]
    response = await client.chat.completions.create(
        model=f"{provider}/gemini-2.5-pro", messages=[{"role": "user", "content": "Go"}], tools=tools
    )

    assert response.choices[0].message.tool_calls[0].function.name == "9 lives/of a cat"


# --- Code Assist -------------------------------------------------------------------------


async def test_the_envelope(proxy, google):
    for words in ("hi", "hi", "other"):
        await proxy.chat("gemini_cli/gemini-2.5-pro", words)
    bodies = [r.json for r in google.called("generateContent")]

    assert bodies[0].keys() == {"model", "project", "user_prompt_id", "request"}
    assert (bodies[0]["model"], bodies[0]["project"]) == ("gemini-2.5-pro", PROJECT)
    assert len({body["user_prompt_id"] for body in bodies}) == 3
    sessions = [body["request"]["session_id"] for body in bodies]
    assert sessions[0] == sessions[1] != sessions[2]
    assert {s["threshold"] for s in bodies[0]["request"]["safetySettings"]} == {"OFF", "BLOCK_NONE"}


async def test_requests_identify_us_and_not_googles_client(start, login, google):
    login(details={"project_id": PROJECT, "quota_project_id": "billed"})
    proxy = await start(plugin={"user_agent": "acme/1.0"})
    await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")
    headers = google.called("generateContent")[0].headers

    assert headers["user-agent"] == "acme/1.0"
    assert headers["x-goog-user-project"] == "billed"
    assert "x-goog-api-client" not in headers


async def test_the_proxys_own_name_is_sent_by_default(proxy, google):
    await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")

    assert google.called("generateContent")[0].headers["user-agent"].startswith("proxy-core")


@pytest.mark.parametrize(
    ("asked", "settings", "name"),
    [
        ("gemini-3.5-flash", {}, "gemini-3-flash"),
        ("gemini-3.5-flash", {"newest_flash": True}, "gemini-3.8-flash"),
        ("gemini-3.1-flash-lite", {"newest_lite": True}, "gemini-3.5-flash-lite"),
        ("pro", {}, "gemini-2.5-pro"),
        ("pro", {"previews": True}, "gemini-3-pro-preview"),
        ("models/gemini-2.5-pro", {}, "gemini-2.5-pro"),
        ("gemini-9-unknown", {}, "gemini-9-unknown"),
    ],
)
async def test_the_backends_names_of_models(start, login, google, asked, settings, name):
    login()
    proxy = await start(plugin=settings)
    await proxy.chat(f"gemini_cli/{asked}", "hi")

    assert google.called("generateContent")[0].json["model"] == name


async def test_paid_credits_only_where_settings_say_so(start, login, google):
    login()
    proxy = await start(plugin={"paid_credits": True})
    await proxy.chat("gemini_cli/gemini-3-pro-preview", "hi", stream=True)
    await proxy.chat("gemini_cli/gemini-3-pro-preview", "hi")
    await proxy.chat("gemini_cli/gemini-2.5-pro", "hi", stream=True)
    bodies = [r.json for r in google.called("enerateContent")]

    assert [body.get("enabled_credit_types") for body in bodies] == [["GOOGLE_ONE_AI"], None, None]


async def test_hosts_from_the_environment(make_proxy, google):
    tokens = google.issue()
    environ = {
        "CODE_ASSIST_ENDPOINT": google.base,
        "CODE_ASSIST_API_VERSION": "v1internal",
        "GEMINI_API_BASE": f"{google.base}/v1beta",
        "GEMINI_API_KEY_1": API_KEY,
        "GEMINI_CLI_1_ACCESS_TOKEN": tokens.access_token.get_secret_value(),
        "GEMINI_CLI_1_REFRESH_TOKEN": tokens.refresh_token.get_secret_value(),
        "GEMINI_CLI_1_EXPIRY_DATE": str(int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)),
        "GEMINI_CLI_1_TOKEN_URI": google.token_url,
        "GEMINI_CLI_1_CLIENT_ID": "example-client",
        "GEMINI_CLI_1_CLIENT_SECRET": "example-secret",
        "GEMINI_CLI_1_PROJECT_ID": PROJECT,
        "GEMINI_CLI_1_EMAIL": "dev@example.com",
    }
    proxy = await make_proxy({}, environ=environ)

    for provider in ("gemini_cli", "gemini"):
        assert (await proxy.chat(f"{provider}/gemini-2.5-pro", "hi")).text == "hello"


async def test_the_base_of_a_provider_like_any_others(start, login, google):
    login()
    base = {"base_url": f"{google.base}/v1internal", "headers": {"x-own": "yes"}}
    proxy = await start(plugin={"code_assist_endpoint": "http://127.0.0.1:1"}, providers={"gemini_cli": base})

    assert (await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")).text == "hello"
    assert google.called("generateContent")[0].headers["x-own"] == "yes"


async def test_a_login_without_a_project_is_set_up_before_it_is_used(start, login, google, vault):
    stored = login(details={})
    proxy = await start()

    assert (await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")).text == "hello"
    assert vault.read(stored).details["project_id"] == PROJECT
    assert google.accepted == []
    assert proxy.proxy.pools["gemini_cli"].credentials[0].priority == 2


# A project, once known, is believed until Google refuses it with a 403: then it is looked up once more.


async def test_a_project_that_is_refused_is_looked_up_anew(start, login, google, vault):
    stored = login(details={"project_id": "gone-project"})
    proxy = await start()
    answers = await asyncio.gather(*(proxy.chat("gemini_cli/gemini-2.5-pro", "hi") for _ in range(3)))

    assert [answer.text for answer in answers] == ["hello"] * 3
    assert vault.read(stored).details["project_id"] == PROJECT
    assert len(google.called("loadCodeAssist")) == 1
    assert google.accepted == []


@pytest.mark.parametrize("name", ["service_disabled", "consumer_invalid", "iam_denied", "subscription_required"])
async def test_a_project_that_is_refused_still_is_not_looked_up_again(start, login, google, name):
    login()
    google.errs(name, times=4)
    proxy = await start()
    answers = [await proxy.chat("gemini_cli/gemini-2.5-pro", "hi") for _ in range(3)]

    assert [answer.status for answer in answers] == [403, 403, 403]
    assert len({answer.error["message"] for answer in answers}) == 1
    assert answers[0].error["code"] in ("project_required", "account_ineligible")
    assert len(google.called("loadCodeAssist")) == 1
    assert len(google.called("generateContent")) == 2
    assert (f"project {PROJECT}" in answers[0].error["message"]) == (name == "service_disabled")  # the others name none


async def test_the_operator_sees_where_to_enable_what_in_the_log_and_in_why(start, login, google, caplog):
    login()
    google.errs("service_disabled", times=4)
    proxy = await start()
    page = f"/apis/api/cloudaicompanion.googleapis.com?project={PROJECT}"
    answer = await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")
    (credential,) = described(proxy.proxy.pools["gemini_cli"], "gemini-2.5-pro", str)["credentials"]

    for words in (answer.error["message"], caplog.text, str(credential)):
        assert page in words
        assert f"SERVICE_DISABLED, project {PROJECT}" in words


async def test_a_limit_of_0_stays_a_429_in_googles_words(start, login, google):
    login()
    google.errs("no_entitlement")
    proxy = await start()
    answers = [await proxy.chat("gemini_cli/gemini-2.5-pro", "hi") for _ in range(3)]

    assert {answer.status for answer in answers} == {429}
    assert all("limit: 0" in answer.error["message"] for answer in answers)
    assert len(google.called("generateContent")) == 1


async def test_a_refused_project_without_another_is_dropped_with_advice(start, login, google, vault):
    google.account(load="subscription_required")
    stored = login()
    google.errs("subscription_required")
    proxy = await start()
    answer = await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")

    assert answer.status == 403 and "licence" in answer.error["message"]
    assert len(google.called("generateContent")) == 1
    kept = vault.read(stored).details
    assert kept["project_id"] == "" and "licence" in kept["problem"]


@pytest.mark.parametrize("name", ["validation_required", "tos_violation", "vpc_sc", "scope"])
async def test_no_lookup_if_another_project_would_not_help(start, login, google, name):
    login()
    google.errs(name)
    proxy = await start()

    assert (await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")).status == 403
    assert google.called("loadCodeAssist") == []


async def test_an_account_that_is_not_served_gets_no_request_and_says_why(start, login, google):
    google.account(load="ended")
    login(details={})
    proxy = await start()
    answer = await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")

    assert answer.status == 403
    assert "API key" in answer.error["message"] or "18 June 2026" in answer.error["message"]
    assert google.called("generateContent") == []


async def test_an_expired_token_is_refreshed_once(start, login, google):
    login()
    google.revoke_access()
    proxy = await start()
    answers = await asyncio.gather(*(proxy.chat("gemini_cli/gemini-2.5-pro", "hi") for _ in range(5)))

    assert [answer.text for answer in answers] == ["hello"] * 5
    assert len(google.accepted) == 1


async def test_quotas_are_fetched_and_shown(start, login, google):
    login(tier="standard-tier")
    soon = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    google.buckets = [Bucket("gemini-2.5-pro", 0.72, "180", soon), Bucket("gemini-2.5-flash", 0.5, None, soon)]
    proxy = await start()
    ledger = proxy.proxy.pools["gemini_cli"].ledger
    async with asyncio.timeout(20):
        while not ledger.group("gemini-3-pro-preview").windows:
            await asyncio.sleep(0.01)

    pro, flash = ledger.group("gemini-3-pro-preview"), ledger.group("gemini-2.5-flash")
    (name,) = pro.windows
    assert (pro.name, pro.windows[name].limit, pro.used[name]) == ("pro", 250, 70)
    assert (flash.name, flash.windows[name].limit, flash.used[name]) == ("25-flash", 1500, 750)
    assert google.called("retrieveUserQuota")[0].json == {"project": PROJECT}


# --- Failures ----------------------------------------------------------------------------


async def test_an_exhausted_login_cools_down_for_the_model_and_the_next_one_answers(start, login, google):
    login("a@example.com")
    login("b@example.com")
    google.errs("daily")
    proxy = await start()

    assert (await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")).text == "hello"
    assert max(proxy.proxy.pools["gemini_cli"].cooling_down().values()) == pytest.approx(31447, abs=20)


async def test_an_exhausted_quota_is_reported_to_the_client(proxy, google):
    google.errs("daily")
    answer = await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")
    other = await proxy.chat("gemini_cli/gemini-2.5-flash", "hi")

    assert (answer.status, answer.error["code"]) == (429, "quota_exhausted")
    assert float(answer.headers["retry-after"]) == 31_448
    assert other.text == "hello"


@pytest.mark.parametrize("name", ["subscription_required", "service_disabled", "iam_denied", "vpc_sc"])
async def test_an_account_without_permission_cools_down_for_all_models(proxy, google, name):
    google.errs(name, times=2)

    assert (await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")).status == 403
    assert (await proxy.chat("gemini_cli/gemini-2.5-flash", "hi")).status == 403
    # If the project may be at fault, it is looked up, and the request is sent once more.
    assert len(google.called("generateContent")) == (1 if name == "vpc_sc" else 2)


@pytest.mark.parametrize(
    ("name", "words"), [("validation_required", "https://accounts.google.com"), ("tos_violation", "appeal")]
)
async def test_an_account_whose_owner_must_act_is_disabled_until_a_new_login(proxy, google, vault, start, name, words):
    google.errs(name)
    answer = await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")

    again = await proxy.chat("gemini_cli/gemini-2.5-flash", "hi")
    async with asyncio.timeout(20):
        while vault.all("gemini_cli")[0].needs_login is None:
            await asyncio.sleep(0.01)
    restarted = await (await start()).chat("gemini_cli/gemini-2.5-flash", "hi")

    assert [answer.status, again.status, restarted.status] == [403, 403, 403]
    assert len({told.error["message"] for told in (answer, again, restarted)}) == 1
    assert words in answer.error["message"]
    assert words in vault.all("gemini_cli")[0].needs_login.why
    assert len(google.called("generateContent")) == 1


async def test_fields_that_gemini_lacks_are_named_in_a_header(proxy, google, provider):
    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi", user="me", logit_bias={"1": 2}, presence_penalty=1)

    assert answer.text == "hello"
    assert set(answer.headers["x-proxy-dropped"].split(", ")) == {"user", "logit_bias", "presence_penalty"}


async def test_googles_own_client_through_the_proxy(proxy, google, provider):
    genai = pytest.importorskip("google.genai")
    options = genai.types.HttpOptions(base_url=proxy.url.removesuffix("/v1"), api_version="v1beta")
    client = genai.Client(api_key=proxy.key, http_options=options)
    config = genai.types.GenerateContentConfig(system_instruction="Be brief.", temperature=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        response = await client.aio.models.generate_content(
            model=f"{provider}/gemini-2.5-pro", contents="hi", config=config
        )
        await client.aio.aclose()

    assert response.text == "hello"
    assert sent(google)["generationConfig"]["temperature"] == 0.5


async def test_a_model_without_capacity_is_not_replaced_by_another(proxy, google):
    google.errs("capacity")
    answer = await proxy.chat("gemini_cli/gemini-3-pro-preview", "hi")

    assert (answer.status, answer.error["code"]) == (429, "model_capacity_exhausted")


async def test_a_fallback_is_used_if_the_settings_allow_it(start, login, google):
    login()
    proxy = await start(plugin={"capacity_fallback": True})
    google.errs("capacity")
    answer = await proxy.chat("gemini_cli/gemini-3-pro-preview", "hi")

    assert answer.text == "hello"
    assert [r.json["model"] for r in google.called("generateContent")] == [
        "gemini-3-pro-preview",
        "gemini-3-flash-preview",
    ]


@pytest.mark.parametrize("name", ["internal", "html_502", "unavailable", "cancelled", "slow_504"])
async def test_a_temporary_failure_is_retried(proxy, google, provider, name):
    google.errs(name)

    assert (await proxy.chat(f"{provider}/gemini-2.5-pro", "hi")).text == "hello"


async def test_a_prompt_that_is_too_long(proxy, google, provider):
    google.errs("too_long")
    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi")

    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


async def test_an_empty_response_is_retried(proxy, google, provider):
    google.answers(text("Hm", thought=True), finish())
    google.answers(finish("MALFORMED_FUNCTION_CALL"))

    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi")

    assert answer.status == 502


async def test_a_blocked_prompt(proxy, google, provider):
    google.answers(raw(promptFeedback={"blockReason": "SAFETY"}))
    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi", stream=True)

    assert answer.events[-1]["choices"][0]["finish_reason"] == "content_filter"


async def test_an_error_before_the_first_event_has_its_own_status(proxy, google, provider):
    error = error_body(429, "RESOURCE_EXHAUSTED", "x", info("QUOTA_EXHAUSTED"), retry("600s"))
    google.answers(b"data: " + error + b"\n\n")
    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi", stream=True)

    assert (answer.status, answer.error["code"]) == (429, "quota_exhausted")


async def test_an_error_mid_stream_is_reported_in_band(proxy, google, provider):
    google.answers(text("hel"), pause(0.2), b"data: " + error_body(503, "UNAVAILABLE", "gone") + b"\n\n")
    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi", stream=True)

    assert answer.text == "hel"
    assert answer.error is not None


async def test_a_stream_that_is_cut(proxy, google, provider):
    google.answers(text("hel"), pause(0.2), cut())
    answer = await proxy.chat(f"{provider}/gemini-2.5-pro", "hi", stream=True)

    assert answer.error["code"] == "upstream_cut_off"


# --- A model's options -------------------------------------------------------------------

OPTIONS = {
    "generationConfig": {"temperature": 0.25, "topK": 7, "thinkingConfig": {"thinkingBudget": 300}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
}


@pytest.fixture
async def tuned(start, login, google):
    login()
    models = {"models": {"careful": {"id": "gemini-2.5-pro", "options": OPTIONS}}}
    return await start(providers={"gemini": {**google.provider, **models}, "gemini_cli": models})


async def test_options_fill_in_what_a_client_leaves_out(tuned, google, provider):
    await tuned.chat(f"{provider}/careful", "hi")
    assert sent(google)["generationConfig"] == {
        "temperature": 0.25,
        "topK": 7,
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 300},
    }
    assert sent(google)["safetySettings"] == OPTIONS["safetySettings"]

    await tuned.chat(f"{provider}/careful", "hi", temperature=1, reasoning_effort="low")
    config = sent(google)["generationConfig"]
    assert (config["temperature"], config["topK"], config["thinkingConfig"]["thinkingBudget"]) == (1, 7, 1024)


# --- Models ------------------------------------------------------------------------------


async def test_models_are_listed(proxy):
    listed = {model["id"] for model in (await proxy.get("/models")).json["data"]}

    assert {"gemini_cli/gemini-2.5-pro", "gemini_cli/gemini-3.1-pro-preview"} <= listed
    assert {"gemini/gemini-2.5-pro", "gemini/gemini-embedding-001"} <= listed
    assert "gemini/aqa" not in listed


async def test_tokens_are_counted_with_instructions_and_tools(proxy, google):
    base, key = proxy.url.removesuffix("/v1"), {"x-goog-api-key": proxy.key}
    tools = [{"functionDeclarations": [{"name": "f", "description": "d"}]}]
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": "x"}]}}

    url = f"{base}/v1beta/models/gemini_cli/gemini-2.5-pro:countTokens"
    answer = await proxy.client.post(url, json={**body, "tools": tools}, headers=key)

    assert answer.json()["totalTokens"] > 0
    assert answer.headers["x-proxy-token-counter"] == "upstream: gemini_cli/gemini-2.5-pro"
    (counted,) = [request.json["request"] for request in google.requests if "countTokens" in request.path]
    assert counted["model"] == "models/gemini-2.5-pro"
    assert counted["contents"][0] == body["contents"][0]
    said, offered = (part["text"] for part in counted["contents"][1]["parts"])
    assert said == "x"
    assert json.loads(offered)[0]["functionDeclarations"][0]["name"] == "f"
