"""A request leaves nothing that only the garbage collector can free: its work is time others wait for."""

import gc
from contextlib import contextmanager

import pytest

from proxy_core.testing import chunk


@contextmanager
def leaving_no_cycle():
    """Nothing of ours that was made inside is unreachable and in a cycle."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        ours = {type(item).__qualname__ for item in gc.garbage if type(item).__module__.startswith("proxy_core")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert ours == set()


async def test_a_plain_request(proxy):
    with leaving_no_cycle():
        assert (await proxy.chat("demo/small", "hi")).status == 200


async def test_a_stream(proxy, upstream):
    upstream.streams("hel", "lo")

    with leaving_no_cycle():
        assert (await proxy.chat("demo/small", "hi", stream=True)).text == "hello"


async def test_a_refused_request(proxy):
    with leaving_no_cycle():
        assert (await proxy.chat("nobody/nothing", "hi")).status == 404


async def test_an_upstreams_error(proxy, upstream):
    upstream.responds(400)

    with leaving_no_cycle():
        assert (await proxy.chat("demo/small", "hi")).status == 400


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_every_attempt_failed(proxy, upstream, status):
    upstream.responds(status)

    with leaving_no_cycle():
        assert (await proxy.chat("demo/small", "hi")).status >= 403


async def test_a_cut_stream(proxy, upstream):
    upstream.says(chunk({"content": "hel"}))

    with leaving_no_cycle():
        assert (await proxy.chat("demo/small", "hi", stream=True)).error is not None


async def test_no_answer(proxy, upstream):
    upstream.resets()

    with leaving_no_cycle():
        assert (await proxy.chat("demo/small", "hi")).status == 502
