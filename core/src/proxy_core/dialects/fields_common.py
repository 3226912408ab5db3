"""Request fields each dialect defines: an allow-list for adapters that hand a body on as keyword arguments.

A relay sends JSON to a configured address and may carry fields nobody knows yet. A library call
may not: any name can be a parameter that chooses a destination, a credential or code.
Source: OpenAI's API reference, checked against the openai package's request types.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy_core.messages import JsonObject

FIELDS: Mapping[str, frozenset[str]] = {
    "openai_chat": frozenset(
        """
        model messages stream stream_options audio frequency_penalty function_call functions logit_bias logprobs
        max_completion_tokens max_tokens metadata modalities moderation n parallel_tool_calls prediction
        presence_penalty prompt_cache_key prompt_cache_retention prompt_cache_options reasoning_effort response_format
        safety_identifier seed service_tier stop store temperature thinking tool_choice tools top_k top_logprobs top_p
        user verbosity web_search_options
        """.split()
    ),
    "openai_completions": frozenset(
        """
        model prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream
        stream_options suffix temperature top_p user
        """.split()
    ),
    "openai_embeddings": frozenset("model input dimensions encoding_format input_type user".split()),
}


def only_known(dialect: str, body: JsonObject) -> JsonObject:
    """The fields of ``body`` that ``dialect`` defines; nothing else, whatever it is called.

    Raises ``KeyError`` for a dialect without a list: there is no safe guess.
    """
    known = FIELDS[dialect]
    return {name: value for name, value in body.items() if name in known}
