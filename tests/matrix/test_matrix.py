"""Every official client on every upstream: what a client can do does not depend on what the upstream speaks."""

import asyncio

import pytest
from tests.matrix.clients import CLIENTS
from tests.matrix.model import BREAK, HELLO, REFUSE, WAIT, decide
from tests.matrix.upstreams import BROKEN, REFUSAL, UPSTREAMS

# google-genai subclasses aiohttp's session, which aiohttp discourages: not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")


@pytest.fixture(params=UPSTREAMS)
async def upstream(request):
    async with UPSTREAMS[request.param](decide) as server:
        yield server


@pytest.fixture(params=CLIENTS)
async def client(request, upstream, make_proxy):
    if (request.param, upstream.name) == ("google-genai", "gemini"):
        upstream.checks = False  # relayed as it is: names in snake case and URL-safe base64, which Google accepts
    proxy = await make_proxy({"providers": upstream.providers, "models": {"claude-gpt": upstream.model}})
    client = CLIENTS[request.param](proxy.url.removesuffix("/v1"), proxy.key, "claude-gpt")
    yield client
    await client.close()


async def test_a_plain_answer(client):
    assert await client.plain(HELLO) == "hello"


async def test_a_stream(client):
    assert "".join([piece async for piece in client.stream(HELLO)]) == "hello"


async def test_tools_over_three_turns_with_two_in_parallel(client):
    asked, text = await client.tools()

    assert asked == [
        [{"name": "weather", "city": "Oslo"}, {"name": "clock", "city": "Bergen"}],
        [{"name": "weather", "city": "Tromso"}],
    ]
    assert text == "all known"


async def test_an_image(client):
    assert await client.look() == "an image"


async def test_an_answer_in_the_shape_of_a_schema(client):
    assert await client.shape() == {"favourite_colour": "blue"}


async def test_an_error_before_the_answer(client):
    for ask in (client.plain(REFUSE), anext(client.stream(REFUSE))):
        with pytest.raises(client.failures) as error:
            await ask
        status, message = client.failed(error.value)
        assert status == 400
        assert REFUSAL in message


async def test_an_error_in_the_stream(client):
    pieces = []
    with pytest.raises(client.failures) as error:
        async for piece in client.stream(BREAK):
            pieces.append(piece)

    assert pieces == ["hel"]
    assert BROKEN in client.failed(error.value)[1]


async def test_a_client_that_leaves_stops_the_upstream(client, upstream):
    stream = client.stream(WAIT)
    assert await anext(stream) == "hel"  # before there is any more
    await stream.aclose()
    await client.close()

    (asked,) = (request for request in upstream.requests if WAIT.encode() in request.body)
    async with asyncio.timeout(30):
        await asked.left.wait()
