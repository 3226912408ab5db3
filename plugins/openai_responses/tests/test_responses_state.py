"""Responses that the proxy keeps: continued, read and deleted with the official client; by their own client only."""

import sqlite3

import openai
import pytest

from proxy_core.testing import chunk
from proxy_plugin_openai_responses.testing import FakeResponses

KEYS = {"ann": "key-of-ann", "bob": "key-of-bob"}


@pytest.fixture
def start(make_proxy, upstream):
    async def make(**responses):
        tables = {
            "providers": {"demo": {"base_url": upstream.url, "api_keys": ["k"]}},
            "clients": {name: {"key": key} for name, key in KEYS.items()},
            "plugins": {"openai_responses": responses},
        }
        return await make_proxy(tables)

    return make


def client_of(proxy, name="ann"):
    return openai.AsyncOpenAI(base_url=proxy.url, api_key=KEYS[name], max_retries=0)


@pytest.fixture
async def ann(start):
    async with client_of(await start()) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_continues_a_response(ann, upstream, stream):
    upstream.streams("I am", " here")
    first = await ann.responses.create(model="demo/small", input="hi", instructions="be brief", stream=stream)
    if stream:
        first = [event async for event in first][-1].response
    second = await ann.responses.create(model="demo/small", input="and now?", previous_response_id=first.id)
    third = await ann.responses.create(model="demo/small", input="still?", previous_response_id=second.id)

    assert (first.store, first.previous_response_id) == (True, None)
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    said = {"role": "assistant", "content": "I am here"}
    asked = [{"role": "user", "content": text} for text in ("hi", "and now?", "still?")]
    assert upstream.last.json["messages"] == [asked[0], said, asked[1], said, asked[2]]


async def test_tool_results_continue_a_response(ann, upstream):
    function = {"name": "f", "arguments": "{}"}
    calls = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}
    upstream.says(chunk({"role": "assistant", "reasoning_content": "hm"}), chunk(calls), chunk({}, finish="tool_calls"))
    upstream.streams("done")
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]

    first = await ann.responses.create(model="demo/small", input="go", tools=tools)
    result = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    second = await ann.responses.create(model="demo/small", input=[result], tools=tools, previous_response_id=first.id)

    assert second.output_text == "done"
    assert [m["role"] for m in upstream.last.json["messages"]] == ["user", "assistant", "tool"]


async def test_a_response_is_read_and_deleted(ann):
    created = await ann.responses.create(model="demo/small", input="hi", metadata={"a": "b"})

    assert await ann.responses.retrieve(created.id) == created
    listed = await ann.responses.input_items.list(created.id)
    assert [item.content[0].text for item in listed.data] == ["hi"]
    with pytest.raises(openai.BadRequestError, match="background"):
        await ann.responses.cancel(created.id)
    await ann.responses.delete(created.id)
    for gone in (ann.responses.retrieve(created.id), ann.responses.delete(created.id)):
        with pytest.raises(openai.NotFoundError, match="not found"):
            await gone


async def test_the_tokens_of_a_continued_response_are_counted_with_it(ann):
    created = await ann.responses.create(model="demo/small", input="one two three four five six seven eight nine")

    alone = await ann.responses.input_tokens.count(model="demo/small", input="hi")
    whole = await ann.responses.input_tokens.count(model="demo/small", input="hi", previous_response_id=created.id)

    assert whole.input_tokens > alone.input_tokens + 5


async def test_input_items_come_in_pages(ann):
    conversation = [{"role": "user", "content": str(number)} for number in range(5)]
    created = await ann.responses.create(model="demo/small", input=conversation)

    pages = ann.responses.input_items.list(created.id, limit=2)

    assert [item.content async for item in pages] == ["4", "3", "2", "1", "0"]
    ascending = await ann.responses.input_items.list(created.id, limit=2, order="asc")
    assert [item.content for item in ascending.data] == ["0", "1"]
    with pytest.raises(openai.BadRequestError, match="limit"):
        await ann.responses.input_items.list(created.id, limit=1000)
    with pytest.raises(openai.BadRequestError) as unknown:
        await ann.responses.input_items.list(created.id, after="item_unknown")
    assert unknown.value.param == "after"


async def test_a_kept_response_is_not_streamed(ann):
    created = await ann.responses.create(model="demo/small", input="hi")

    with pytest.raises(openai.BadRequestError) as refused:
        await ann.responses.retrieve(created.id, stream=True)
    assert refused.value.param == "stream"
    assert await ann.responses.retrieve(created.id, extra_query={"stream": "false"}) == created


async def test_hosted_tools_are_refused_if_the_settings_say_so(start, ann):
    tools = [{"type": "web_search"}]
    async with client_of(await start(hosted_tools="refuse")) as strict:
        with pytest.raises(openai.BadRequestError, match="'web_search'"):
            await strict.responses.create(model="demo/small", input="hi", tools=tools)

    assert (await ann.responses.create(model="demo/small", input="hi", tools=tools)).output_text == "hello"


async def test_a_response_belongs_to_its_client(start):
    proxy = await start()
    async with client_of(proxy) as ann, client_of(proxy, "bob") as bob:
        created = await ann.responses.create(model="demo/small", input="hi")
        for refused in (bob.responses.retrieve, bob.responses.delete, bob.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                await refused(created.id)
        with pytest.raises(openai.BadRequestError):
            await bob.responses.create(model="demo/small", input="hi", previous_response_id=created.id)
        assert (await ann.responses.retrieve(created.id)).id == created.id


@pytest.mark.parametrize("name", ["resp_unknown", "", "../../etc/passwd", "x" * 300, "\N{GRINNING FACE}"])
async def test_an_unknown_response_cannot_be_continued(ann, upstream, name):
    with pytest.raises(openai.BadRequestError) as raised:
        await ann.responses.create(model="demo/small", input="hi", previous_response_id=name)

    assert (raised.value.code, raised.value.param) == ("previous_response_not_found", "previous_response_id")
    assert not upstream.requests


async def test_what_is_not_to_be_stored_is_not(ann):
    created = await ann.responses.create(model="demo/small", input="hi", store=False)

    assert created.store is False
    with pytest.raises(openai.NotFoundError):
        await ann.responses.retrieve(created.id)


async def test_the_oldest_responses_make_room(start):
    async with client_of(await start(stored_responses=2)) as ann:
        created = [await ann.responses.create(model="demo/small", input="hi") for _ in range(3)]
        assert (await ann.responses.retrieve(created[1].id)).id == created[1].id
        with pytest.raises(openai.NotFoundError):
            await ann.responses.retrieve(created[0].id)


async def test_a_client_has_so_many_bytes(start):
    async with client_of(await start(stored_bytes=3000)) as ann:
        small = await ann.responses.create(model="demo/small", input="hi")
        large = await ann.responses.create(model="demo/small", input="x" * 3000)
        for gone in (small, large):
            with pytest.raises(openai.NotFoundError):
                await ann.responses.retrieve(gone.id)


async def test_without_a_store_nothing_is_forgotten_silently(start, upstream):
    async with client_of(await start(stored_responses=0)) as ann:
        created = await ann.responses.create(model="demo/small", input="hi")
        with pytest.raises(openai.BadRequestError) as raised:
            await ann.responses.create(model="demo/small", input="hi", previous_response_id=created.id)

    assert created.store is False
    assert raised.value.param == "previous_response_id"
    assert len(upstream.requests) == 1


async def test_an_upstream_of_the_same_format_is_sent_the_whole_conversation(make_proxy):
    async with FakeResponses() as server:
        proxy = await make_proxy(
            {
                "providers": {"lab": server.provider},
                "clients": {name: {"key": key} for name, key in KEYS.items()},
            }
        )
        async with client_of(proxy) as ann:
            first = await ann.responses.create(model="lab/gpt", input="hi")
            stream = await ann.responses.create(
                model="lab/gpt", input="and now?", previous_response_id=first.id, stream=True
            )
            second = [event async for event in stream][-1].response
            assert (await ann.responses.retrieve(second.id)).output_text == second.output_text

    sent = server.requests[-1].json
    assert "previous_response_id" not in sent
    assert [item["role"] for item in sent["input"]] == ["user", "assistant", "user"]


async def test_a_response_survives_a_restart_and_is_known_to_other_processes(make_proxy, upstream, tmp_path):
    state = {"url": f"sqlite:///{tmp_path}/state.db"}
    tables = {
        "providers": {"demo": {"base_url": upstream.url, "api_keys": ["k"]}},
        "clients": {name: {"key": key} for name, key in KEYS.items()},
        "state": state,
    }
    one, two = await make_proxy(tables), await make_proxy(tables)
    async with client_of(one) as ann, client_of(two) as elsewhere:
        created = await ann.responses.create(model="demo/small", input="hi")
        assert await elsewhere.responses.retrieve(created.id) == created
        await elsewhere.responses.create(model="demo/small", input="and?", previous_response_id=created.id)

    assert len(upstream.last.json["messages"]) == 3
    with sqlite3.connect(tmp_path / "state.db") as file:
        assert file.execute("SELECT count(*) FROM notes WHERE value LIKE '%hello%'").fetchone() == (0,)
