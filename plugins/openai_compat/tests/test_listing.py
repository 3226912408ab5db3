"""What vendors' lists say about a model."""

import pytest

from proxy_core import ModelInfo
from proxy_plugin_openai_compat.listing import read_listing


@pytest.mark.parametrize(
    ("extra", "info"),
    [
        ({"context_window": 8, "max_completion_tokens": 2}, ModelInfo(context_length=8, max_output_tokens=2)),
        ({"max_model_len": 8}, ModelInfo(context_length=8)),
        ({"context_length": "8", "capabilities": ["x"], "pricing": 3, "architecture": "moe"}, ModelInfo()),
        ({"capabilities": {"vision": True, "score": 3}}, ModelInfo(capabilities={"vision": True})),
        (
            {
                "context_length": 8,
                "top_provider": {"max_completion_tokens": 4},
                "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
                "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"},
            },
            ModelInfo(
                context_length=8,
                max_output_tokens=4,
                input_modalities=["text", "image"],
                output_modalities=["text"],
                input_price=2.5,
                output_price=10.0,
                cached_price=1.25,
            ),
        ),
        ({"pricing": {"prompt": 0.25, "completion": 1.0}}, ModelInfo()),  # per million: only text is per token
        ({"pricing": {"prompt": "0.25", "completion": "-1"}}, ModelInfo()),
        ({"pricing": {"prompt": "free", "completion": "nan"}}, ModelInfo()),
    ],
)
def test_what_providers_lists_say_is_read(extra, info):
    assert read_listing(extra) == info
