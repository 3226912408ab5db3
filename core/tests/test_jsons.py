import asyncio
import json
import math
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_core import jsons
from proxy_core.jsons import in_steps

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["\ud83d", "\ude00", "\u2028", "\x00", "\x7f", "😀", '"\\/\b\f\n\r\t']),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["\ud83d", "é"]), inner),
)


@pytest.mark.hypothesis
@given(VALUES)
def test_what_is_written_is_read_again_and_the_standard_library_agrees(value):
    written = jsons.dumps(value)

    assert jsons.loads(written) == jsons.loads_strict(written) == json.loads(written) == value
    assert jsons.loads(json.dumps(value).encode()) == value
    assert jsons.loads(json.dumps(value)) == value


@pytest.mark.hypothesis
@given(st.binary() | st.text(alphabet='[]{}",:\\ud83enlrtfasNI+-.0123456789 \n').map(str.encode))
def test_any_bytes_are_read_as_the_standard_library_reads_them_or_refused(data):
    def read(loads):
        try:
            return repr(loads(data))
        except ValueError:
            return "refused"

    assert read(jsons.loads) == read(lambda data: json.loads(data.decode("utf-8-sig")))
    assert read(jsons.loads_strict) in (read(jsons.loads), "refused")


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**300, 0.1, -0.0, 5e-324, 1.7976931348623157e308])
def test_numbers_stay_as_they_are(number):
    assert repr(jsons.loads(jsons.dumps([number]))) == repr([number])


def test_the_order_of_keys_and_unescaped_characters_are_kept():
    assert jsons.dumps({"b": "é", "a": "/\u2028"}) == '{"b":"é","a":"/\u2028"}'.encode()


@pytest.mark.parametrize("extra", ["", "\ud83d"])
def test_numbers_that_json_does_not_have_become_null(extra):
    value = jsons.loads(jsons.dumps({"a": [math.nan, {"b": math.inf}, -math.inf, 1.5], "c": extra}))

    assert value == {"a": [None, {"b": None}, None, 1.5], "c": extra}


@pytest.mark.parametrize(
    "number",
    [
        b"1e400",
        b"1E+0400",
        b"9" * 250 + b"e99",
        b"-1e400",
        b"2" * 309 + b".0",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"9" * 5000,
    ],
)
@pytest.mark.parametrize("form", [b"%b", b"[%b]", b'{"a":{"b":[1,%b]}}', b'["\\ud83d",%b]'])
def test_a_strict_reader_refuses_numbers_that_cannot_be_written(number, form):
    with pytest.raises(ValueError):
        jsons.loads_strict(form % number)


@pytest.mark.parametrize("first", [b"", b'"\\ud83d",'])
@pytest.mark.parametrize("depth", [201, 900, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_too_deeply_is_refused(first, depth, opening, closing):
    data = b"[" + first + opening * depth + b"1" + closing * depth + b"]"

    for read in (jsons.loads, jsons.loads_strict):
        with pytest.raises(ValueError):
            read(data)


@pytest.mark.parametrize("first", [b"", b'"\\ud83d",'])
def test_what_is_read_can_be_written_wrapped_in_something_else(first):
    value = jsons.loads_strict(b"[" + first + b"[" * 199 + b"]" * 199 + b"]")

    assert jsons.dumps({"request": {"contents": [{"parts": [value]}]}})


async def beside(work, *args):
    """As a large body is read or written; the limit of a step is what the tests make it."""
    return await jsons.beside(work, *args)


@pytest.fixture(params=[30, *(pytest.param(step, marks=pytest.mark.slow) for step in (200, 5000))])
def step(request, monkeypatch):
    """Steps so short that small values take many."""
    monkeypatch.setattr(in_steps, "_STEP", request.param)
    monkeypatch.setattr(jsons, "SHORT", request.param)


LONG = st.recursive(
    st.none()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=200)
    | st.text(alphabet='\\"\n é汉😀\ud83d\u2028a', min_size=20, max_size=200),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(alphabet='a"\\é ', max_size=40), inner),
    max_leaves=60,
)


@pytest.mark.parametrize("text", [b'[[1], "' + b"x" * 40 + b'"}', b'{"a": "' + b"x" * 40 + b'"]', b'[{"a": 1], 2]'])
def test_a_container_is_closed_by_its_own_bracket(step, text):
    with pytest.raises(ValueError, match="malformed"):
        in_steps.read(text, jsons._read, 200)


@pytest.mark.hypothesis
@given(LONG, st.booleans(), st.sampled_from([None, 1]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_large_values_are_read_and_written_in_steps_as_in_one_piece(step, value, ascii, indent):
    text = json.dumps(value, ensure_ascii=ascii, indent=indent).encode("utf-8", "replace")
    expected = json.loads(text)

    assert in_steps.read(text, jsons._read, 200) == expected
    assert json.loads(in_steps.write(value, jsons._write)) == value


@pytest.mark.hypothesis
@given(LONG, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damaged_large_values_are_refused_as_in_one_piece(step, value, data):
    text = json.dumps(value).encode()
    at = data.draw(st.integers(0, len(text)))
    inserted = data.draw(
        st.sampled_from([b"", b'"', b",", b"[", b"}", b":", b"\\", b"1", b"\x00", b"\xff", b" ", b"\\u"])
    )
    text = text[:at] + inserted + text[at + data.draw(st.integers(0, 3)) :]

    def found(read, *more):
        try:
            return read(text, *more)
        except ValueError:
            return "refused"

    assert found(in_steps.read, jsons._read, 200) == found(jsons.loads)


#: Made when they are needed: they are large.
HOSTILE = {
    "many objects": lambda: b'{"a":[' + b",".join([b"{}"] * 9_000_000) + b"]}",
    "many lists": lambda: b'{"a":[' + b",".join([b"[]"] * 9_000_000) + b"]}",
    "many numbers": lambda: b'{"a":[' + b",".join([b"1"] * 9_000_000) + b"]}",
    "many names": lambda: b'{"a":{' + b",".join(b'"%d":1' % n for n in range(2_000_000)) + b"}}",
    "deep": lambda: b'{"a":' * 900 + b"1" * 19_000_000 + b"}" * 900,
    "deep everywhere": lambda: b'{"a":[' + b",".join([b"[" * 900 + b"]" * 900] * 10_000) + b"]}",
    "only brackets": lambda: b"[" * 20_000_000,
    "only closing brackets": lambda: b"]" * 20_000_000,
    "only quotes": lambda: b'"' * 20_000_000,
    "only backslashes": lambda: b'{"a":"' + b"\\" * 20_000_001 + b'"}',
    "only commas": lambda: b"[" + b"," * 20_000_000 + b"]",
    "only spaces": lambda: b" " * 20_000_000,
    "half a string": lambda: b'{"a":"' + b"\\n" * 10_000_000,
    "halves of pairs": lambda: b'{"a":"' + b"\\ud83d" * 3_000_000 + b'x"}]',
    "a long number": lambda: b'{"a":' + b"1" * 20_000_000 + b"}",
    "a long name": lambda: b'{"' + b"\\n" * 10_000_000 + b'":}',
}


@pytest.mark.slow
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_no_large_body_keeps_other_requests_waiting(body):
    """The event loop gets its turn while a thread reads, and the thread gives up soon."""
    data, measured = body(), []
    for _ in range(3):  # other programs may have had the processor
        measured.append(await reading(data))
        took, longest = measured[-1]
        if took < 5 and longest < 0.1:
            return
    pytest.fail(f"took, and the loop waited: {measured}")


async def reading(data):
    """How long it took until the data was refused, and how long the event loop had to wait for its turn."""
    switch, longest, stop = sys.getswitchinterval(), 0.0, asyncio.Event()
    sys.setswitchinterval(0.001)

    async def watch():
        nonlocal longest
        while not stop.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    watching, started = asyncio.create_task(watch()), time.perf_counter()
    try:
        with pytest.raises(ValueError):
            await beside(jsons.loads_strict, data)
    finally:
        sys.setswitchinterval(switch)
    took = time.perf_counter() - started
    stop.set()
    await watching
    return took, longest


def test_a_text_with_half_of_a_surrogate_pair_is_no_json():
    """A client's text may have one, because JSON can express it as an escape."""
    with pytest.raises(ValueError):
        jsons.loads("\ud800")
