"""Usage files of the old proxy: every layout, with anything missing or odd in it."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin_mirrowel.importing.usage import totals

TODAY = date(2026, 11, 28)
USED = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
COUNTED = {
    **{"request_count": 5, "success_count": 4, "failure_count": 1, "prompt_tokens": 100, "completion_tokens": 50},
    **{"thinking_tokens": 10, "output_tokens": 60, "prompt_tokens_cache_read": 20, "prompt_tokens_cache_write": 3},
    **{"approx_cost": 0.5, "last_used_at": USED},
}
ABOUT = {"provider": "house", "accessor": "key-a", "model_usage": {"house/coder": {"totals": COUNTED}}}


def read(data, name="usage_house.json"):
    return list(totals(Path(name), data, TODAY))


def second(about=ABOUT, **more):
    return {"schema_version": 2, "credentials": {"abc": about}, **more}


def test_the_second_layout():
    [total] = read(second())

    assert (total.provider, total.accessor, total.model, total.day) == ("house", "key-a", "coder", date(2026, 11, 20))
    assert (total.requests, total.failures, total.cost) == (5, 1, 0.5)
    assert (total.prompt, total.cached, total.cache_write) == (123, 20, 3), "what was cached is part of the prompt here"
    assert (total.completion, total.reasoning) == (60, 10)


def test_without_a_provider_or_accessor_the_files_name_and_the_entrys_count():
    [total] = read(second({"model_usage": ABOUT["model_usage"]}))

    assert (total.provider, total.accessor) == ("house", "abc")


@pytest.mark.parametrize("missing", COUNTED)
def test_a_missing_count_leaves_the_others(missing):
    [whole], [total] = (
        read(second()),
        read(
            second(
                {
                    **ABOUT,
                    "model_usage": {"house/coder": {"totals": {k: v for k, v in COUNTED.items() if k != missing}}},
                }
            )
        ),
    )
    same = {"requests", "failures", "prompt", "cached", "completion", "reasoning", "cost", "day"}
    touched = {
        "request_count": set(),
        "success_count": set(),
        "failure_count": {"failures"},
        "prompt_tokens": {"prompt"},
        "completion_tokens": set(),
        "thinking_tokens": {"reasoning"},
        "output_tokens": set(),
        "prompt_tokens_cache_read": {"prompt", "cached"},
        "prompt_tokens_cache_write": {"prompt"},
        "approx_cost": {"cost"},
        "last_used_at": {"day"},
    }[missing]

    assert {name for name in same if getattr(whole, name) != getattr(total, name)} == touched


FIRST = {
    "daily and global": {
        "key-a": {
            "daily": {"date": "2026-11-28", "models": {"groq/llama": {"success_count": 2, "prompt_tokens": 5}}},
            "global": {"models": {"groq/llama": {"success_count": 10, "prompt_tokens": 50}}},
            "last_daily_reset": "2026-11-27",
        }
    },
    "models": {"key-a": {"models": {"groq/llama": {"success_count": 12, "prompt_tokens": 55}}}},
    "with a version": {
        "schema_version": 1,
        "key_states": {
            "key-a": {
                "provider": "groq",
                "model_usage": {"groq/llama": {"totals": {"success_count": 12, "prompt_tokens": 55}}},
            }
        },
    },
}


@pytest.mark.parametrize("data", FIRST.values(), ids=FIRST)
def test_the_first_layout_had_several_forms(data):
    found = read(data, "key_usage.json")

    assert {(total.provider, total.model, total.accessor) for total in found} == {("groq", "llama", "key-a")}
    assert (sum(total.requests for total in found), sum(total.prompt for total in found)) == (12, 55)


def test_a_newer_layout_is_not_guessed():
    with pytest.raises(ValueError, match="schema_version is 3"):
        read({"schema_version": 3, "credentials": {}})


def test_a_day_in_the_future_is_today():
    [first] = read({"key-a": {"daily": {"date": "2999-01-01", "models": {"groq/llama": {"success_count": 1}}}}})
    assert first.day == TODAY
    [total] = read(second({**ABOUT, "model_usage": {"m": {"totals": {**COUNTED, "last_used_at": 9e12}}}}))

    assert total.day == TODAY


WORDS = "credentials key_states provider accessor model_usage totals daily global models date last_daily_reset a/b"
NAMES = st.sampled_from([*WORDS.split(), "schema_version", *COUNTED])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_whatever_is_in_a_file_it_is_read_or_refused(data):
    try:
        found = read(data)
    except ValueError:
        return
    assert all(0 <= total.cached <= total.prompt and 0 <= total.reasoning <= total.completion for total in found)
    assert all(total.day <= TODAY for total in found)
