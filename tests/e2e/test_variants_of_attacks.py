"""The attacks of ``docs/security.md`` in further spellings and places, under each HTTP server and in each dialect."""

import gzip
import zlib
from functools import cache

import brotli
import pytest
import zstandard

# --- Bodies that are more than they seem -------------------------------------------------

CHAT = ("/chat/completions", b'{"model":"demo/small","messages":[{"role":"user","content":"hi"}]}')
GENERATE = ("/../v1beta/models/demo/small:generateContent", b'{"contents":[{"parts":[{"text":"hi"}]}]}')


@cache
def zeros(pack):
    return pack(bytes(30_000_000))


def twice(pack):
    return pack(zeros(pack))


#: ``content-encoding`` headers of a request, its body, and the status that refuses it.
BOMBS = {
    "gzip": (["gzip"], lambda: zeros(gzip.compress), 413),
    "x-gzip, in capitals": (["X-GZIP"], lambda: zeros(gzip.compress), 413),
    "deflate": (["deflate"], lambda: zeros(zlib.compress), 413),
    "deflate, bare": (["deflate"], lambda: zeros(zlib.compress)[2:-4], 413),
    "brotli": (["br"], lambda: brotli.compress(bytes(30_000_000), quality=3), 413),
    "zstandard": (["zstd"], lambda: zeros(zstandard.compress), 413),
    "several members": (["gzip"], lambda: gzip.compress(bytes(600_000)) * 50, 413),
    "two layers": (["gzip, gzip"], lambda: twice(gzip.compress), 415),
    "two headers": (["gzip", "deflate"], lambda: zlib.compress(zeros(gzip.compress)), 415),
    "three layers": (["GZIP,br , zstd"], lambda: b"x", 415),
    "the same with identity": (["identity, gzip, identity, gzip"], lambda: twice(gzip.compress), 415),
    "unknown": (["lzma"], lambda: b"x" * 100, 415),
    "not a name": (["gzip;q=1"], lambda: zeros(gzip.compress), 415),
    "not what it says": (["zstd"], lambda: zeros(gzip.compress), 400),
    "its end is missing": (["gzip"], lambda: gzip.compress(CHAT[1])[:-4], 400),
}


@pytest.mark.parametrize("path", [CHAT[0], GENERATE[0]], ids=["chat", "gemini"])
async def test_a_compressed_request_is_read_within_the_limit_or_not_at_all(make_hosted, upstream, path):
    proxy = await make_hosted(server={"max_body_bytes": 1_000_000})

    for name, (encodings, body, status) in BOMBS.items():
        answer = await proxy.post(path, body(), headers={"content-encoding": ", ".join(encodings)})

        assert (name, answer.status) == (name, status)
        assert len(answer.body) < 2000
    assert upstream.requests == []
    assert (await proxy.chat("demo/small", "hi")).status == 200


@pytest.mark.parametrize(("path", "body"), [CHAT, GENERATE], ids=["chat", "gemini"])
async def test_one_honest_layer_is_read(hosted, path, body):
    for name, pack in (("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstandard.compress)):
        answer = await hosted.post(path, pack(body), headers={"content-encoding": name})
        assert answer.status == 200, name


# --- Links to private places -------------------------------------------------------------

#: Spellings of this machine and of a cloud's metadata server.
PLACES = [
    *("127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1"),
    *("017700000001", "127.0.0.1.", "127.0x0.0.1", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]"),
    *(
        "127\u30020\u30020\u30021",
        "127\uff0e0.0.1",
        "127.0\uff610.1",
        "\uff11\uff12\uff17.0.0.1",
        "\u2460\u2461\u2466.0.0.1",
    ),
    *("127.0.0\u200b.1", "127.0.0\u00ad.1", "loc\u00adalhost", "\uff2c\uff4fcalhost", "LOCALHOST", "localhost."),
    *("%31%32%37.0.0.1", "127%2e0%2e0%2e1", "x@127.0.0.1", "xn--127-", "xn--a", "a..b", "169.254.169.254"),
    *("169\u3002254.169.254", "[fe80::a9fe:a9fe]", "2852039166", "0xa9.0xfe.0xa9.0xfe", "[::ffff:a9fe:a9fe]"),
]


def image(link):
    return {"type": "image_url", "image_url": {"url": link}}


async def test_no_spelling_of_a_private_place_is_fetched(make_proxy, upstream):
    """For the provider that cannot open links itself, from a client of OpenAI's dialect."""
    gemini = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"gemini": gemini}, "plugins": {"allowed": ["openai_compat", "gemini"]}})
    port = upstream.url.removesuffix("/v1").rpartition(":")[2]

    for place in PLACES:
        for scheme in ("http", "HTTP"):
            content = [image(f"{scheme}://{place}:{port}/x.png")]
            body = {"model": "gemini/m", "messages": [{"role": "user", "content": content}]}
            answer = await proxy.post("/chat/completions", body)

            assert (place, answer.status) == (place, 400)
    assert upstream.requests == []
    assert upstream.connections == 0
