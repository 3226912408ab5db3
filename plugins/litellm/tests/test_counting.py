"""Token counts with tokenizers that are on disk, and only with those."""

import asyncio
import shutil
import socket
import subprocess
import sys

import pytest

from proxy_core import CountTokens
from proxy_plugin_litellm.counting import Counter, counter, token_folders
from proxy_plugin_litellm.encodings import ENCODINGS
from proxy_plugin_litellm.tokenizers import tokenizer_of

HELLO = [{"role": "user", "content": "Hello, world!"}]


def count(provider="openai", model="gpt-4o", **asked):
    return counter().count(CountTokens(provider=provider, model=model, **asked))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Opening a socket fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoding_is_tiktokens(name, monkeypatch):
    import tiktoken

    folder = next(path for path in token_folders() if (path / ENCODINGS[name].file).exists())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    theirs = tiktoken.get_encoding(name)
    model = {"o200k_base": "gpt-4o", "cl100k_base": "gpt-4"}[name]

    assert theirs._pat_str == ENCODINGS[name].pattern
    for text in (
        "",
        "Hello, world!",
        "def f(x):\n\n    return x<|endoftext|>",
        "今天天气很好 🙂",
        "a" * 3000,
        "\ud800",
    ):
        assert count(model=model, text=text).tokens == len(theirs.encode_ordinary(text))


def test_messages_of_known_frames_are_exact():
    found = count(messages=HELLO)  # 3 a message, 1 role, 4 text, 3 for the response

    assert (found.tokens, found.exact, found.tokenizer, found.note) == (11, True, "o200k_base", "")
    assert count(messages=[{**HELLO[0], "name": "ann"}]).tokens == 13


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gpt-5", {"messages": HELLO}),
        ("gpt-4o", {"messages": HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]}),
        (
            "gpt-4o",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
        ),
        (
            "gpt-4o",
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]}]},
        ),
    ],
)
def test_what_is_not_published_is_not_exact(model, asked):
    found = count(model=model, **asked)

    assert found.tokens > 5
    assert not found.exact
    assert "not known exactly" in found.note


@pytest.mark.parametrize(
    ("provider", "model", "tokenizer", "sure"),
    [
        ("openai", "gpt-4o-2024-08-06", "o200k_base", True),
        ("openai", "gpt-4.1-mini", "o200k_base", True),
        ("openai", "o3", "o200k_base", True),
        ("openai", "gpt-4-turbo", "cl100k_base", True),
        ("openai", "text-embedding-3-small", "cl100k_base", True),
        ("litellm-openai", "ft:gpt-4o:me::1", "o200k_base", True),
        ("openrouter", "openai/gpt-4o", "o200k_base", True),
        ("anything", "gpt-oss-120b", "o200k_base", True),
        ("azure", "gpt-4o", "o200k_base", False),
        ("demo", "gpt-4o", "o200k_base", False),
        ("openrouter", "someone/gpt-4o", "o200k_base", False),
        ("deepseek", "deepseek-chat", "deepseek", False),
    ],
)
def test_a_tokenizer_is_sure_where_the_model_is_known_to_be_the_vendors(provider, model, tokenizer, sure):
    found = count(provider, model, text="some words")

    assert (found.tokenizer, found.exact) == (tokenizer, sure)
    assert found.tokens == 2
    assert bool(found.note) is not sure


@pytest.mark.parametrize("model", ["gpt-9", "gpt-40", "o30", "small", "gpt-4.7"])
def test_unknown_names_are_left_to_other_counters(model):
    assert tokenizer_of("openai", model) is None


@pytest.mark.parametrize(
    ("provider", "model", "why"),
    [
        ("anthropic", "claude-sonnet-4-5", "Anthropic publishes no tokenizer"),
        ("gemini", "gemini-2.5-pro", "does not download"),
        ("groq", "llama-3.3-70b", "would have to be downloaded"),
    ],
)
def test_what_would_be_downloaded_is_not(provider, model, why):
    found = count(provider, model, messages=HELLO)

    assert found.tokens is None
    assert why in found.note


def test_a_file_that_is_not_there_or_not_whole_is_not_downloaded_and_not_removed(tmp_path):
    torn = tmp_path / ENCODINGS["o200k_base"].file
    torn.write_bytes(b"aGk= 0\n")
    bare = Counter(lambda: iter([tmp_path]))

    for model, name in (("gpt-4o", "o200k_base"), ("gpt-4", "cl100k_base")):
        found = bare.count(CountTokens(provider="openai", model=model, text="x"))
        assert found.tokens is None
        assert f"{name} is not on this disk" in found.note
    assert torn.read_bytes() == b"aGk= 0\n"
    assert bare.count(CountTokens(provider="deepseek", model="deepseek-chat", text="x")).tokens is None


def test_a_cache_of_tiktokens_is_used(tmp_path, monkeypatch):
    file = ENCODINGS["cl100k_base"].file
    shutil.copy(next(path for path in token_folders() if (path / file).exists()) / file, tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))

    assert next(token_folders()) == tmp_path
    only = Counter(lambda: iter([next(token_folders())]))
    assert only.count(CountTokens(provider="openai", model="gpt-4", text="some words")).exact


def test_counting_does_not_import_litellm():
    probe = (
        "import sys; from proxy_core import CountTokens; from proxy_plugin_litellm import counter\n"
        "early = 'tiktoken' in sys.modules\n"
        "tokens = counter().count(CountTokens(provider='openai', model='gpt-4o', text='hi')).tokens\n"
        "print(tokens, early, 'litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "False", "False"]


async def test_many_at_once_load_a_tokenizer_once():
    fresh = Counter(token_folders)
    asked = CountTokens(provider="openai", model="gpt-4o", text="some words")

    found = await asyncio.gather(*(asyncio.to_thread(fresh.count, asked) for _ in range(8)))

    assert {f.tokens for f in found} == {2}
