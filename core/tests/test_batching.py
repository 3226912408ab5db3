"""Several requests for embeddings as one, and one reply as several."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.dialects.openai_embeddings import BATCHING, apportioned
from proxy_core.errors import UpstreamBroken

TEXTS = st.text(min_size=1, max_size=8) | st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4)
BODIES = st.lists(TEXTS.map(lambda value: {"model": "m", "input": value}), min_size=1, max_size=6)


def texts(body):
    return [body["input"]] if isinstance(body["input"], str) else body["input"]


def reply(merged, usage=None, order=None):
    data = [{"object": "embedding", "index": n, "embedding": [text]} for n, text in enumerate(merged["input"])]
    data = [data[n] for n in order] if order else data
    return json.dumps({"object": "list", "data": data, "model": "m", **({"usage": usage} if usage else {})}).encode()


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_parts_add_up_and_none_is_off_by_one(total, weights):
    weights = [w + 1 for w in weights]
    parts = apportioned(total, weights)

    assert sum(parts) == total
    assert all(abs(part - total * w / sum(weights)) < 1 + 1e-6 for part, w in zip(parts, weights, strict=True))


@given(BODIES, st.data())
def test_everyone_gets_its_own_vectors_in_order_and_usages_add_up(bodies, data):
    merged = BATCHING.merge(bodies)
    number = st.integers(0, 10**6)
    usage = {
        "prompt_tokens": data.draw(number),
        "total_tokens": data.draw(number),
        "prompt_tokens_details": {"cached_tokens": data.draw(number), "audio": None},
    }
    order = data.draw(st.permutations(range(len(merged["input"]))))
    shares = [json.loads(part) for part in BATCHING.split(reply(merged, usage, order), bodies)]

    for body, share in zip(bodies, shares, strict=True):
        assert [item["embedding"] for item in share["data"]] == [[text] for text in texts(body)]
        assert [item["index"] for item in share["data"]] == list(range(len(texts(body))))
        assert (share["object"], share["model"]) == ("list", "m")
        assert share["usage"]["prompt_tokens_details"]["audio"] is None
    for name in ("prompt_tokens", "total_tokens"):
        assert sum(share["usage"][name] for share in shares) == usage[name]
    cached = [share["usage"]["prompt_tokens_details"]["cached_tokens"] for share in shares]
    assert sum(cached) == usage["prompt_tokens_details"]["cached_tokens"]


def test_a_response_without_usage_stays_without():
    bodies = [{"model": "m", "input": "a"}, {"model": "m", "input": "b"}]

    assert all(b"usage" not in part for part in BATCHING.split(reply(BATCHING.merge(bodies)), bodies))


def test_a_cost_that_is_no_whole_number_is_split_as_well():
    bodies = [{"model": "m", "input": "a"}, {"model": "m", "input": "bbb"}]
    shares = BATCHING.split(reply(BATCHING.merge(bodies), {"cost": 0.5, "is_byok": False}), bodies)

    assert [json.loads(part)["usage"] for part in shares] == [
        {"cost": 0.125, "is_byok": False},
        {"cost": 0.375, "is_byok": False},
    ]


@pytest.mark.parametrize("indices", [[0], [0, 1, 2], [0, 0], [1, 2], [None, 0]])
def test_a_response_that_has_not_one_vector_for_each_input_is_broken(indices):
    bodies = [{"model": "m", "input": "a"}, {"model": "m", "input": "b"}]
    data = [{"index": index, "embedding": [1]} for index in indices]
    with pytest.raises(UpstreamBroken):
        BATCHING.split(json.dumps({"data": data}).encode(), bodies)


def test_an_invalid_response_is_broken():
    with pytest.raises(UpstreamBroken):
        BATCHING.split(b"[]", [{"model": "m", "input": "a"}])


def test_requests_are_alike_if_all_but_their_texts_is():
    key = BATCHING.key({"model": "m", "input": "a", "dimensions": 3})

    assert key == BATCHING.key({"dimensions": 3, "input": ["b", "c"], "model": "m"})
    for other in ({"model": "n"}, {"dimensions": 4}, {"encoding_format": "base64"}, {"user": "u"}):
        assert key != BATCHING.key({"model": "m", "input": "a", "dimensions": 3, **other})


@pytest.mark.parametrize("value", [[1, 2], [[1], [2]]])
def test_tokens_are_left_alone(value):
    assert BATCHING.key({"model": "m", "input": value}) is None


def test_sizes_count_inputs():
    assert BATCHING.size({"input": "abc"}) == 1
    assert BATCHING.size({"input": ["a", "b"]}) == 2
