"""Estimates, against counts of ``o200k_base``."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin_estimates.token_estimate import PER_MEDIA, estimate_chat, estimate_text

TEXTS = [
    ("The quick brown fox jumps over the lazy dog. " * 20, 201),
    (
        "def area(radius):\n    if radius < 0:\n        raise ValueError('negative')\n    return 3.1416 * radius**2\n\n"
        * 5,
        150,
    ),
    ('{"name": "widget", "price": 12.5, "tags": ["a", "b"], "stock": {"berlin": 4, "paris": 17}}\n' * 5, 200),
    ("今天天气很好我们去公园散步吧。明天可能会下雨所以请记得带伞。" * 5, 130),
    ("Привет! Как твои дела? Сегодня мы пойдём гулять в парк, если не будет дождя. " * 5, 121),
    ("오늘은 날씨가 좋아서 우리는 공원에 산책하러 갑니다. " * 5, 91),
    ("Größere Änderungen müssen schriftlich bestätigt werden. " * 5, 52),
]


@pytest.mark.parametrize(("text", "exact"), TEXTS)
def test_an_estimate_is_near_the_count(text, exact):
    assert estimate_text(text) == pytest.approx(exact, rel=0.35)


@pytest.mark.parametrize("text", ["a", " ", "\n", "🙂", "\ud800", "\x00"])
def test_nothing_but_the_empty_text_is_nothing(text):
    assert estimate_text(text) >= 1
    assert estimate_text("") == 0


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_is_never_far_fewer_tokens(one, other):
    """What joins words or makes them longer may save a few."""
    assert estimate_text(one + other) >= max(0.5 * estimate_text(one) - 3, 0)


@pytest.mark.parametrize("piece", ["word ", "a", " ", "字", '{"a": 1}\n', "🙂"])
def test_a_megabyte_takes_milliseconds(piece):
    text = (piece * (1 << 20))[: 1 << 20]
    began = time.process_time()
    estimate_text(text)

    assert time.process_time() - began < 0.5


def test_a_chat_is_its_texts_with_frames():
    one = [{"role": "user", "content": "Hello there"}]
    text = estimate_text("Hello there")

    assert estimate_chat(one) == 3 + 3 + 1 + text
    assert estimate_chat([{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}]) == estimate_chat(one)
    assert estimate_chat([{**one[0], "name": "ann"}]) == estimate_chat(one) + 1 + estimate_text("ann")
    assert estimate_chat(one * 2) == 2 * estimate_chat(one) - 3


def test_media_are_a_fixed_amount_whatever_their_bytes():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}

    assert estimate_chat([{"role": "user", "content": [image]}]) == 3 + 3 + 1 + PER_MEDIA


def test_tools_and_calls_count():
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    one = [{"role": "user", "content": "hi"}]

    assert estimate_chat(one, [tool]) > estimate_chat(one) + 8
    assert estimate_chat([*one, {"role": "assistant", "content": None, "tool_calls": [call]}]) > estimate_chat(one) + 11
