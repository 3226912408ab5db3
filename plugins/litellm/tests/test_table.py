"""litellm's table: how it is found, read and reduced."""

import json
import subprocess
import sys
import threading
import time

import pytest

from proxy_core import ModelInfo
from proxy_plugin_litellm.names import providers_of, stem
from proxy_plugin_litellm.table import Table, entries, load_table, table_path

TEXT = json.dumps(
    {
        "sample_spec": {"litellm_provider": "one of many", "max_input_tokens": "a number"},
        "gpt-4o": {
            "litellm_provider": "openai",
            "mode": "chat",
            "max_input_tokens": 128000,
            "max_output_tokens": 16384,
            "input_cost_per_token": 2.5e-06,
            "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 1.25e-06,
            "supports_vision": True,
            "supports_response_schema": False,
            "source": "https://example.org",
        },
        "claude-a-20250929": {"litellm_provider": "anthropic", "mode": "chat", "max_input_tokens": 1},
        "claude-b-20250101": {"litellm_provider": "anthropic", "mode": "chat", "max_input_tokens": 1},
        "claude-b-20250202": {"litellm_provider": "anthropic", "mode": "chat", "max_input_tokens": 2},
        "gemini/gemini-x": {"litellm_provider": "gemini", "mode": "chat", "max_input_tokens": 3},
        "vertex_ai/claude-a": {"litellm_provider": "vertex_ai-anthropic_models", "mode": "chat", "max_input_tokens": 4},
        "gemini-x": {"litellm_provider": "vertex_ai-language-models", "mode": "chat", "max_input_tokens": 5},
        "together_ai/Meta/Llama-X": {"litellm_provider": "together_ai", "mode": "chat", "max_input_tokens": 6},
        "odd": {"litellm_provider": "openai", "max_input_tokens": "8k", "input_cost_per_token": "cheap"},
        "none": 5,
    },
    indent=2,
)
FIND = Table.read(TEXT).find


def test_an_entry_is_reduced_to_the_fields_in_use():
    assert FIND("openai", "gpt-4o") == ModelInfo(
        context_length=128000,
        max_output_tokens=16384,
        input_modalities=("text", "image"),
        output_modalities=("text",),
        capabilities={"vision": True, "structured_output": False},
        input_price=2.5,
        output_price=10.0,
        cached_price=1.25,
    )
    assert FIND("openai", "odd") == ModelInfo()


@pytest.mark.parametrize(
    ("provider", "model", "context"),
    [
        ("gemini", "gemini-x", 3),
        ("gemini", "models/gemini-x", 3),
        ("gemini_cli", "gemini-x", 3),
        ("vertex_ai", "gemini-x", 5),
        ("litellm-vertex_ai", "claude-a", 4),
        ("together", "Meta/Llama-X", 6),
        ("together", "meta/llama-x", 6),
        ("anthropic", "claude-a-20250929", 1),
        ("anthropic", "claude-a", 1),
        ("anthropic", "claude-a-latest", 1),
        ("anthropic", "claude-b-20250202", 2),
        ("anthropic", "claude-b", None),  # two that differ
        ("anthropic", "claude-b-latest", None),
        ("openrouter", "anthropic/claude-a", 1),
        ("demo", "gpt-4o", None),  # an unknown provider
        ("demo", "openai/gpt-4o", None),
        ("openai", "gpt-9", None),
    ],
)
def test_models_are_found_by_our_names_and_near_ones_only_where_they_agree(provider, model, context):
    card = FIND(provider, model)

    assert (card.context_length if card else None) == context


def test_a_routers_own_price_is_not_guessed():
    card = FIND("openrouter", "openai/gpt-4o")

    assert card is not None
    assert (card.context_length, card.input_price, card.output_price) == (128000, None, None)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("openai", "openai"),
        ("litellm-bedrock", "bedrock"),
        ("bedrock_converse", "bedrock"),
        ("vertex_ai-anthropic_models", "vertex_ai"),
        ("text-completion-openai", "openai"),
        ("nvidia_nim", "nvidia_nim"),
        ("Qwen-Code", "dashscope"),
    ],
)
def test_providers_have_litellms_names(name, theirs):
    assert providers_of(name)[0] == theirs


@pytest.mark.parametrize("dated", ["x-20250929", "x-2025-09-29", "x@20250929", "X-latest", "x@default", "x"])
def test_a_stem_has_no_date(dated):
    assert stem(dated) == "x"


@pytest.mark.parametrize("text", ["", "[]", '{"a": {}', '{"a" 1}', '{"a": {"b": }}', "{1: {}}"])
def test_an_invalid_table_is_an_error(text):
    with pytest.raises(ValueError):
        dict(entries(text))


def test_entries_are_those_of_the_whole():
    assert dict(entries(TEXT)) == {name: value for name, value in json.loads(TEXT).items() if name != "none"}


def test_the_installed_table_is_read_without_litellm_and_others_get_their_turn():
    probe = (
        "import sys; from proxy_plugin_litellm.table import load_table\n"
        "card = load_table()('openai', 'gpt-4o')\n"
        "print(card.context_length, card.input_price > 0, 'litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["128000", "True", "False"]

    load_table.cache_clear()
    worst, reading = 0.0, threading.Thread(target=load_table)
    reading.start()
    while reading.is_alive():
        began = time.process_time()  # CPU time, because other programs share the machine
        time.sleep(0.001)
        worst = max(worst, time.process_time() - began)
    assert worst < 0.2, "no part of it holds the interpreter for long"
    assert table_path().name in str(table_path())
