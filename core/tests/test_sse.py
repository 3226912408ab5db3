"""Event streams on bytes: any line ending, any split."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import sse
from proxy_core.errors import UpstreamBroken
from proxy_core.testing import every_split

SAMPLES = {
    "plain": b'data: {"a":1}\n\ndata: [DONE]\n\n',
    "no space": b'data:{"a":1}\n\ndata:[DONE]\n\n',
    "comments": b": hello\n\ndata: x\n\n: bye\n\n",
    "named, several lines": b"event: e\nid: 1\nretry: 5\ndata: one\ndata: two\n\ndata: z\n\n",
    "line separators inside": "data: \u2028\u2029\u0085 é 😀\n\n".encode() * 3,
    "byte order mark": b"\xef\xbb\xbfdata: x\n\n",
    "empty data": b"data:\n\ndata\n\nid: 3\n\n",
}


def parsed(*reads):
    splitter = sse.EventSplitter(1 << 20)
    pieces = [splitter.feed(read) for read in reads] + [splitter.close()]
    assert b"".join(pieces) == b"".join(reads)
    return [event for piece in pieces for event in sse.events(piece)]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_any_split_gives_the_same_events(sample, ending):
    stream = sample.replace(b"\n", ending)
    whole = list(sse.events(stream))

    for first, second in every_split(stream):
        assert parsed(first, second) == whole
    assert parsed(*[stream[i : i + 1] for i in range(len(stream))]) == whole


def test_fields_are_read_as_the_standard_says():
    (event,) = sse.events(SAMPLES["named, several lines"].partition(b"\n\n")[0])

    assert event == sse.Event(b"one\ntwo", "e")


def test_line_separators_of_unicode_are_text():
    (event, *_) = sse.events(SAMPLES["line separators inside"])

    assert event.data.decode() == "\u2028\u2029\u0085 é 😀"


def test_a_last_event_without_a_blank_line_counts():
    assert parsed(b"data: a\n\ndata: b") == [sse.Event(b"a"), sse.Event(b"b")]


def test_an_event_without_data_is_no_event():
    assert parsed(b": comment\n\nid: 1\n\n\n\n") == []


def test_an_endless_event_is_an_error():
    splitter = sse.EventSplitter(100)

    with pytest.raises(UpstreamBroken, match="100 bytes"):
        splitter.feed(b"data: " + b"x" * 200)


lines = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
payloads = st.lists(lines, min_size=1, max_size=3)


@given(st.lists(payloads, max_size=6), st.data())
def test_what_is_written_is_read_whatever_the_reads(events, data):
    ending = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = b"".join(b"".join(b"data: " + line.encode() + ending for line in event) + ending for event in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert [event.data for event in parsed(*reads)] == ["\n".join(event).encode() for event in events]


@pytest.mark.parametrize("piece", [b"x" * 16, b"x\n" * 8, b"x\r\n" * 5, b"\r:" * 8], ids=["", "lf", "crlf", "cr"])
def test_a_long_event_in_small_pieces_takes_time_in_proportion(piece):
    splitter = sse.EventSplitter(64 << 20)
    started = time.thread_time()

    for _ in range(200_000):
        assert splitter.feed(piece) == b""
    assert time.thread_time() - started < 5

    assert splitter.feed(b"\n\n") == piece * 200_000 + b"\n\n"


def test_an_event_in_small_pieces_is_limited():
    splitter = sse.EventSplitter(10_000)

    with pytest.raises(UpstreamBroken):
        for _ in range(2000):
            splitter.feed(b"data: ")
