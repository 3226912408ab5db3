"""An upstream that is broken or malicious neither stops the proxy, nor bloats it, nor reaches other requests."""

import gzip
import zlib
from functools import cache

import pytest

from proxy_core.testing.upstream import Script


@cache
def packed(pack):
    return pack(bytes(30_000_000), 9)


#: ``content-encoding`` headers, and what makes a body of a few hundred bytes up to 30 KB that holds 30 MB or more.
STACKED = {
    "two layers in one header": (["gzip, gzip"], lambda: gzip.compress(packed(gzip.compress), 9)),
    "two layers in two headers": (["gzip", "gzip"], lambda: gzip.compress(packed(gzip.compress), 9)),
    "three layers": (["GZIP, Gzip", "gzip"], lambda: gzip.compress(gzip.compress(packed(gzip.compress), 9), 9)),
    "mixed": (["deflate, gzip"], lambda: gzip.compress(packed(zlib.compress), 9)),
    "with identity between": (["gzip,identity", "gzip"], lambda: gzip.compress(packed(gzip.compress), 9)),
    "another encoding": (["br"], lambda: b"\x1b\x00\x00"),
    "one layer": (["gzip"], lambda: packed(gzip.compress)),
    "one layer, upper case": (["X-GZIP"], lambda: packed(gzip.compress)),
    "one layer of deflate": (["deflate"], lambda: packed(zlib.compress)),
    "not what it says": (["gzip"], lambda: b'{"choices": []}'),
}


def answering(upstream, encodings, body, status="200 OK", kind="application/json"):
    head = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}"]
    head += [f"content-encoding: {encoding}" for encoding in encodings]
    raw = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    for _ in range(20):
        upstream.add(Script(steps=[raw], raw=True))


@pytest.fixture
async def small(make_proxy, upstream):
    """A proxy that accepts responses of up to a megabyte."""
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    limits = {"max_response_bytes": 1_000_000}
    routing = {"max_wait_s": 1}
    return await make_proxy({"providers": {"demo": provider}, "upstream": limits, "routing": routing})


@pytest.mark.parametrize(("encodings", "body"), STACKED.values(), ids=STACKED)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_compressed_response_is_read_within_the_limits_or_not_at_all(small, upstream, encodings, body, stream):
    answering(upstream, encodings, body(), kind="text/event-stream" if stream else "application/json")

    answer = await small.chat("demo/small", "hi", stream=stream)

    assert answer.status in (502, 503)
    assert len(answer.body) < 2000


@pytest.mark.parametrize(("encodings", "body"), STACKED.values(), ids=STACKED)
async def test_nor_does_an_error_body_or_a_list_of_models_do_harm(small, upstream, encodings, body):
    answering(upstream, encodings, body(), status="400 Bad Request")

    refused = await small.chat("demo/small", "hi")
    listed = await small.get("/models")

    assert refused.status == 400
    assert len(refused.body) < 70_000
    assert listed.status == 200
