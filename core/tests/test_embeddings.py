"""Vectors arrive in the encoding the client asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.dialects.openai_embeddings import DIALECT, finish_whole, from_base64, to_base64
from proxy_core.errors import BadRequest, UpstreamBroken

FINE = ["text", ["a", "b"], [1, 2, 3], [[1], [2, 3]]]


@pytest.mark.parametrize("value", FINE)
def test_every_form_of_input_is_taken(value):
    DIALECT.check({"model": "m", "input": value})


@pytest.mark.parametrize("value", [[], "", [""], [1, "a"], [[]], [[1], []], [True], {}, 3])
def test_anything_else_is_refused(value):
    with pytest.raises(BadRequest) as refused:
        DIALECT.check({"model": "m", "input": value})
    assert refused.value.param == "input"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_base64_and_floats_say_the_same(vector):
    assert from_base64(to_base64(vector)) == vector


def test_a_response_in_the_right_encoding_is_untouched():
    odd = b'{ "data" : [ {"embedding":[1.50]} ] }'

    assert finish_whole(odd, {"model": "m"}) is odd
    assert finish_whole(odd, {"model": "m", "encoding_format": "float"}) is odd
    assert json.loads(finish_whole(odd, {"model": "m", "encoding_format": "base64"}))["data"][0][
        "embedding"
    ] == to_base64([1.5])


def test_an_invalid_vector_is_the_upstreams_fault():
    with pytest.raises(UpstreamBroken):
        finish_whole(b'{"data":[{"embedding":"%%%"}]}', {"model": "m", "encoding_format": "float"})
    with pytest.raises(UpstreamBroken):
        finish_whole(b'{"data":[{"embedding":["x"]}]}', {"model": "m", "encoding_format": "base64"})
