"""JSON lines: any split of the bytes gives the same objects, and a damaged line is not taken for a cut stream."""

import pytest

from proxy_core import StreamCut, UpstreamBroken, ndjson
from proxy_core.testing import every_split

SAMPLE = '{"say": "h€l\u2028lo"}\r\n\n{"n": 1}\n  \n{"last": true}'.encode()


def read(*reads):
    reader = ndjson.LineReader()
    return [value for data in reads for value in reader.feed(data)] + reader.close()


def test_any_split_gives_the_same_objects():
    for parts in every_split(SAMPLE):
        assert read(*parts) == [{"say": "h€l\u2028lo"}, {"n": 1}, {"last": True}]
    assert read(*(SAMPLE[at : at + 1] for at in range(len(SAMPLE)))) == read(SAMPLE)


def test_an_object_is_there_as_soon_as_its_line_ends():
    reader = ndjson.LineReader()

    assert reader.feed(b'{"a": 1}') == []
    assert reader.feed(b'\n{"b"') == [{"a": 1}]
    assert reader.feed(b": 2}\n") == [{"b": 2}]
    assert reader.close() == []


@pytest.mark.parametrize("line", [b"not json\n", b"[1]\n", b'"text"\n', b"\xff\n"])
def test_a_line_that_is_no_object_is_an_error_of_the_upstream(line):
    with pytest.raises(UpstreamBroken):
        ndjson.LineReader().feed(line)


def test_a_last_line_that_is_not_complete_is_a_cut():
    reader = ndjson.LineReader()
    reader.feed(b'{"a": 1}\n{"b"')

    with pytest.raises(StreamCut):
        reader.close()


def test_a_line_without_end_is_refused_before_it_fills_the_memory():
    reader = ndjson.LineReader(max_line_bytes=10)

    with pytest.raises(UpstreamBroken, match="more than 10 bytes"):
        for _ in range(11):
            reader.feed(b"x")
