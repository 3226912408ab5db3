"""Steering fields are found however they are spelled and however deep; nothing else is touched."""

import copy

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
