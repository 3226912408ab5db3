"""No field from a client becomes one of litellm's network or credential arguments, in this release or the next."""

import inspect

import pytest

from proxy_core import BadRequest
from proxy_plugin_litellm.parameters import CHAT, EMBEDDINGS, allowed, check_chat

pytestmark = pytest.mark.filterwarnings("ignore")

#: Parameters of litellm's functions that are no client's business. One that is in neither list is new: look at it.
NOT_FROM_CLIENTS = set(
    "model timeout deployment_id extra_headers base_url api_base api_version api_key api_type model_list "
    "shared_session enable_json_schema_validation caching custom_llm_provider litellm_call_id logger_fn thinking "
    "include_server_side_tool_invocations kwargs args".split()
)


@pytest.fixture(scope="module")
def litellm():
    from proxy_plugin_litellm.library import _imported

    return _imported()


def test_every_parameter_of_litellm_is_known_here(litellm):
    for function in (litellm.completion, litellm.acompletion, litellm.embedding):
        known = CHAT | EMBEDDINGS | NOT_FROM_CLIENTS
        assert set(inspect.signature(function).parameters) <= known, function


def test_none_of_litellms_own_keywords_is_allowed(litellm):
    from litellm.types.utils import all_litellm_params

    assert not (CHAT | EMBEDDINGS) & set(all_litellm_params)


def test_none_of_a_providers_credentials_is_allowed(litellm):
    from litellm.types.router import CredentialLiteLLMParams

    assert not (CHAT | EMBEDDINGS) & set(CredentialLiteLLMParams.model_fields)


def test_what_is_left_out_is_named():
    kept, left = allowed({"model": "m", "messages": [], "top_p": None, "api_base": "x", "top_k": 3}, CHAT)

    assert (kept, left) == ({"messages": []}, ["api_base", "top_k"])


@pytest.mark.parametrize("kind", ["image_url", "video_url", "file"])
def test_a_link_left_in_a_message_is_refused(kind):
    content = [{"type": kind, kind: {"url": " HTTPS://x.example/a"}}]

    with pytest.raises(BadRequest) as refused:
        check_chat({"messages": [{"role": "user", "content": content}]})

    assert refused.value.param == "messages[0].content"


def test_tools_on_servers_are_refused():
    with pytest.raises(BadRequest) as refused:
        check_chat({"tools": [{"type": "mcp", "server_url": "litellm_proxy"}]})

    assert refused.value.param == "tools[0].type"
