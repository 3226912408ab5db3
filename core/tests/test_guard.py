"""Steering fields are found however they are spelled and however deep; nothing else is touched."""

import copy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.pipeline.guard import GUARDED_FIELDS

SPELLINGS = """
api_base api-base apiBase API_BASE base_url baseURL api_key headers extra_headers Authorization organization
timeout num_retries proxy_server_request custom_llm_provider mock_response success_callback user_api_key_dict no-log
ssl_verify
""".split()
ORDINARY = """
model messages stream stream_options temperature top_p max_tokens seed tools user metadata store n logprobs
reasoning_effort thinking service_tier provider models route transforms plugins chat_template_kwargs
cache_control web_search_options safety_settings max_completion_tokens parallel_tool_calls verbosity
""".split()


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_taken_out(name):
    assert GUARDED_FIELDS.without({"model": "m", name: "x", "extra_body": {name: "x", "y": 1}}) == {
        "model": "m",
        "extra_body": {"y": 1},
    }
    assert sorted(GUARDED_FIELDS.found({"a": [{name: 1}], name: 2})) == sorted([f"a.{name}", name])


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_parameters_stay(name):
    assert GUARDED_FIELDS.without({name: {"x": 1}}) == {name: {"x": 1}}


names = st.sampled_from([*SPELLINGS, *ORDINARY, "x"]) | st.text(max_size=8)
bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(names, bodies, max_size=6))
def test_the_result_has_none_and_the_body_itself_is_not_changed(body):
    before = copy.deepcopy(body)

    clean = GUARDED_FIELDS.without(body)

    assert list(GUARDED_FIELDS.found(clean)) == []
    assert body == before
    assert (clean is body) == (not list(GUARDED_FIELDS.found(body)))
    assert {k: v for k, v in body.items() if GUARDED_FIELDS.role(k) == "content"}.items() <= clean.items()


@pytest.mark.parametrize("carrier", ["additional_params", "additionalParams", "additionalModelRequestFields"])
def test_a_carrier_of_steering_fields_is_removed_whole(carrier):
    steering = {"temperature": 1, "deep": [{"x": {"api_base": "y"}}]}

    assert GUARDED_FIELDS.without({"model": "m", "extra": {carrier: steering}}) == {"model": "m", "extra": {}}
    assert GUARDED_FIELDS.without({carrier: {"temperature": 1}}) == {carrier: {"temperature": 1}}


@pytest.mark.parametrize("text", ['{"api_base": "x"}', ' [{"a": {"apiKey": 1}}]', '{"a": "{\\"headers\\": {}}"}'])
@pytest.mark.parametrize("name", ["additional_params", "extra_body", "anything"])
def test_steering_fields_in_a_text_of_json_are_found(name, text):
    assert GUARDED_FIELDS.without({"model": "m", name: text}) == {"model": "m"}
    assert GUARDED_FIELDS.without({"messages": text}) == {"messages": text}
    for harmless in ("{not json", '{"a": 1}', "[1]", text + "x"):
        assert GUARDED_FIELDS.without({name: harmless}) == {name: harmless}


def test_a_large_and_deep_body_is_walked_in_one_pass_without_recursion():
    body, deep = {"x": {}}, [{} for _ in range(100_000)]
    for _ in range(5000):
        deep = {"a": deep}
    body["x"]["y"] = deep

    started = time.thread_time()
    assert GUARDED_FIELDS.without(body) is body
    assert time.thread_time() - started < 5


def test_long_names_that_clients_make_up_are_not_kept():
    before = GUARDED_FIELDS._known_role.cache_info().currsize

    for n in range(10):
        assert GUARDED_FIELDS.without({f"mock{n}" + "x" * 1000: 1, "y" * 1000: 2}) == {"y" * 1000: 2}

    assert GUARDED_FIELDS._known_role.cache_info().currsize == before
