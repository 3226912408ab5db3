"""Compressed bodies: one layer, in pieces, whatever the other side sends."""

import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.network.decoding import Inflater, UnknownEncoding, decoded, layer
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.upstream import UpstreamResponse


def bare(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "members": ("gzip", lambda data: b"".join(gzip.compress(data[at : at + 1000]) for at in range(0, len(data), 1000))),
    "padded": ("gzip", lambda data: gzip.compress(data) + b"\0" * 9),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("Deflate", bare),
    "identity": ("identity", bytes),
    "empty": ("", bytes),
    "one layer and identity": ("identity, gzip ,", gzip.compress),
}


async def arriving(data, sizes=(1 << 20,)):
    turn = 0
    while data:
        yield data[: sizes[turn % len(sizes)]]
        data, turn = data[sizes[turn % len(sizes)] :], turn + 1


async def nothing():
    pass


async def whole(data, encoding, sizes=(1 << 20,)):
    return b"".join([piece async for piece in decoded(arriving(data, sizes), encoding)])


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("sizes", [(1,), (7, 1, 300), (1 << 20,)])
@pytest.mark.parametrize("data", [b"x", b"ab" * 40_000, random.Random(1).randbytes(3000)], ids=["1", "long", "random"])
async def test_one_layer_is_decoded_however_it_is_split(encoding, encode, sizes, data):
    assert await whole(encode(data), encoding, sizes) == data


SEVERAL = "gzip,gzip|gzip, deflate|deflate,deflate|GZIP , Gzip|gzip,identity,gzip|identity,gzip,x-gzip|gzip,br".split(
    "|"
)
UNKNOWN = "compress|gzip;q=1|gzipx|*|aes128gcm|\u0130|gzip\tgzip|exi|dcb|dcz".split("|")


@pytest.mark.parametrize("encoding", [*SEVERAL, *UNKNOWN])
async def test_several_layers_and_unknown_encodings_are_refused_before_anything_is_read(encoding):
    read = []

    async def pieces():
        read.append(1)
        yield gzip.compress(gzip.compress(b"x"))

    with pytest.raises(TransportError, match="although none was asked for"):
        async for _ in decoded(pieces(), encoding):
            pass
    assert read == []


BOMBS = {
    "gzip": ("gzip", lambda: gzip.compress(bytes(50_000_000), 9)),
    "deflate": ("deflate", lambda: zlib.compress(bytes(50_000_000), 9)),
    "bare": ("deflate", lambda: bare(bytes(50_000_000))),
    "many members": ("gzip", lambda: gzip.compress(bytes(1_000_000), 9) * 50),
    "two layers, called one": ("gzip", lambda: gzip.compress(gzip.compress(bytes(100_000_000), 9), 9)),
}


@pytest.mark.parametrize(("encoding", "body"), BOMBS.values(), ids=BOMBS)
async def test_a_bomb_is_cut_off_at_the_limit(encoding, body):
    body, headers = body(), {"content-encoding": encoding}
    responses = [UpstreamResponse(500, headers, arriving(body), nothing) for _ in range(2)]
    tracemalloc.start()
    try:
        if encoding == "gzip" and len(body) < 1000:  # its one layer is small
            assert len(await responses[0].read(1_000_000)) < 1_000_000
        else:
            with pytest.raises(ResponseTooLarge):
                await responses[0].read(1_000_000)
        assert len(await responses[1].read_error()) <= 65536
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 5_000_000


DAMAGED = {
    "not compressed": ("gzip", b"<html>not compressed</html>"),
    "cut": ("gzip", gzip.compress(b"x" * 1000)[:-9]),
    "cut in the middle of a member": ("gzip", gzip.compress(b"x" * 1000) + gzip.compress(b"y" * 1000)[:12]),
    "wrong checksum": ("gzip", gzip.compress(b"x" * 1000)[:-8] + bytes(8)),
    "something after it": ("gzip", gzip.compress(b"x") + b"and more"),
    "deflate": ("deflate", b"\x78\x9c\xff\xff\xff\xff"),
}


@pytest.mark.parametrize(("encoding", "body"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("sizes", [(1,), (1 << 20,)])
async def test_damaged_data_is_an_error_and_never_a_shorter_body(encoding, body, sizes):
    with pytest.raises(TransportError) as caught:
        await whole(body, encoding, sizes)

    assert caught.value.fault == "unreadable"


@pytest.mark.hypothesis
@given(st.binary(), st.sampled_from(["gzip", "deflate"]), st.lists(st.integers(1, 50), min_size=1))
def test_any_bytes_are_decoded_or_refused(data, encoding, sizes):
    inflater = Inflater(encoding)
    try:
        for size in sizes:
            list(inflater.pieces(data[:size]))
            data = data[size:]
        inflater.close()
    except ValueError:
        pass


@pytest.mark.parametrize("encoding", SEVERAL)
def test_layers_are_counted_in_one_header_or_several(encoding):
    with pytest.raises(UnknownEncoding):
        layer(encoding)
