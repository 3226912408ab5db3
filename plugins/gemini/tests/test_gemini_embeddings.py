"""Gemini's embeddings: both methods, and to and from OpenAI's."""

import json

import pytest

from proxy_core import BadRequest, EmbedRequest, EmbedResponse, RequestHead, UpstreamBroken, Usage
from proxy_core.dialects import openai_embeddings as openai
from proxy_plugin_gemini import embeddings as gemini


def content(*texts):
    return {"content": {"parts": [{"text": text} for text in texts]}}


ONE = {"model": "m", **content("a", "b"), "outputDimensionality": 8, "taskType": "RETRIEVAL_QUERY"}
MANY = {"model": "m", "requests": [{"model": "models/m", **content("a")}, content("b")]}


def test_the_address_says_which_model_and_method():
    def said(model, method):
        head = RequestHead(method="POST", path=f"/v1/models/{model}:{method}", parameters={"model": model})
        return gemini.read_request(head, {})

    assert said("models/a/b", "embedContent") == {"model": "a/b", "batch": False}
    assert said("m", "batchEmbedContents") == {"model": "m", "batch": True}
    assert [path.rpartition(":")[2] for path in gemini.DIALECT.paths] == ["embedContent", "batchEmbedContents"] * 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "content"),
        ({"content": []}, "content"),
        ({"content": {"parts": []}}, "content.parts"),
        ({"batch": True}, "requests"),
        ({"batch": True, **content("a")}, "content"),
        ({"batch": False, "requests": [], **content("a")}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [1]}, "requests[0]"),
        ({"requests": [content("a"), {}]}, "requests[1].content"),
        ({"requests": [{"model": "models/other", **content("a")}]}, "requests[0].model"),
    ],
)
def test_what_no_upstream_could_read_is_refused(body, param):
    with pytest.raises(BadRequest) as refused:
        gemini.check({"model": "m", **body})
    assert refused.value.param == param


def test_to_openai():
    for body in (ONE, MANY):
        gemini.check(body)

    assert openai.encode_inputs(gemini.decode_inputs(ONE)) == {
        "model": "m",
        "input": ["a\nb"],
        "encoding_format": "float",
        "dimensions": 8,
    }
    assert openai.encode_inputs(gemini.decode_inputs(MANY))["input"] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"content": {"parts": [{"text": "a"}, {"inlineData": {}}]}}, "content.parts[1]"),
        ({"requests": [content("a"), {"content": {"parts": [3]}}]}, "requests[1].content.parts[0]"),
        ({"requests": [content("a"), {**content("b"), "outputDimensionality": 3}]}, "outputDimensionality"),
        ({**content("a"), "outputDimensionality": 0}, "outputDimensionality"),
    ],
)
def test_what_another_format_cannot_carry_is_refused_by_name(body, param):
    with pytest.raises(BadRequest) as refused:
        gemini.decode_inputs({"model": "m", **body})
    assert refused.value.param == param


def test_from_openai():
    body = {"model": "m", "input": "a", "dimensions": 8, "taskType": "RETRIEVAL_QUERY", "user": "u"}

    assert gemini.encode_inputs(openai.decode_inputs(body)) == {**ONE, **content("a")}
    several = gemini.encode_inputs(openai.decode_inputs({"model": "m", "input": ["a", "b"]}))
    assert gemini.request_body(several, "up") == {
        "requests": [{**content(text), "model": "models/up"} for text in ("a", "b")]
    }


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
def test_tokens_are_no_texts(tokens):
    with pytest.raises(BadRequest, match="not tokens"):
        gemini.encode_inputs(openai.decode_inputs({"model": "m", "input": tokens}))


def test_responses_both_ways():
    response = EmbedResponse(model="", vectors=[[0.5], [1.5]], usage=Usage(prompt=3))

    told = gemini.encode_embeddings(response, MANY)
    assert json.loads(told)["usageMetadata"] == {"promptTokenCount": 3, "totalTokenCount": 3}
    assert gemini.decode_embeddings(told) == response
    one = gemini.encode_embeddings(EmbedResponse(model="", vectors=[[0.5]], usage=Usage()), ONE)
    assert json.loads(one) == {"embedding": {"values": [0.5]}}
    spoken = openai.encode_embeddings(response, {"model": "m", "encoding_format": "base64"})
    assert openai.decode_embeddings(spoken).vectors == response.vectors


def test_vectors_come_in_the_order_of_their_inputs():
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]

    assert openai.decode_embeddings(json.dumps({"data": data}).encode()).vectors == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        *[(gemini.decode_embeddings, b) for b in (b"{}", b"[]", b"{", b'{"embedding": {}}', b'{"embeddings": 3}')],
        (gemini.decode_embeddings, b'{"embedding": {"values": ["x"]}}'),
        (gemini.decode_embeddings, b'{"embedding": {"values": [NaN]}}'),
        *[(openai.decode_embeddings, b) for b in (b"{}", b'{"data": [{}]}', b'{"data": [{"index": 0}]}')],
        (openai.decode_embeddings, b'{"data": [{"index": 0, "embedding": ["x"]}]}'),
    ],
)
def test_a_response_without_vectors_is_the_upstreams_fault(decode, body):
    with pytest.raises(UpstreamBroken):
        decode(body)


def test_a_vector_too_few_is_the_upstreams_fault():
    with pytest.raises(UpstreamBroken):
        gemini.encode_embeddings(EmbedResponse(model="", vectors=[[1.0]], usage=Usage()), MANY)


def test_what_neutral_values_say_of_one_input_and_several():
    assert gemini.encode_inputs(EmbedRequest(model="m", inputs=["a"])) == {"model": "m", **content("a")}
