import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import jsons

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
    "number", [b"1e400", b"-1e400", b"2" * 309 + b".0", b"NaN", b"Infinity", b"-Infinity", b"9" * 5000]
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
