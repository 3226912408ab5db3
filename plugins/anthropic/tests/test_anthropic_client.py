"""The official client through the proxy, in front of an upstream that speaks OpenAI's format."""

ASKS = {"model": "demo/small", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


async def test_chat(client, upstream):
    message = await client.messages.create(**ASKS, system="be brief", extra_body={"temperature": 0.5})

    assert [block.text for block in message.content] == ["hello"]
    assert (message.stop_reason, message.model) == ("end_turn", "demo/small")
    assert message.id.startswith("msg_")
    assert message.usage.output_tokens == 2
    sent = upstream.last.json
    assert sent["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (sent["temperature"], sent["max_tokens"], sent["model"]) == (0.5, 9, "small")


async def test_stream(client, upstream):
    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})

    async with client.messages.stream(**ASKS) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()

    assert texts == ["hel", "lo"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert upstream.last.json["stream"] is True
