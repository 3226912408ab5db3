"""Known secrets never get through."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.records.redact import MASK, SecretScrubber

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=20)


@given(st.lists(secrets, min_size=1, max_size=4), st.text(), st.text())
def test_no_known_secret_is_left_in_text_or_bytes(known, before, after):
    scrub = SecretScrubber(known)
    text = before + known[0] + after

    cleaned, cleaned_bytes = scrub.text(text), scrub.bytes(text.encode("utf-8", "surrogatepass"))

    assert "[redacted]" in cleaned
    for secret in known:
        outside = cleaned.split("[redacted]")
        assert not any(secret in part for part in outside)
        assert not any(secret.encode() in part for part in cleaned_bytes.split(b"[redacted]"))


@given(st.text())
def test_text_without_secrets_is_unchanged(text):
    scrub = SecretScrubber(["a-secret-nobody-types-by-chance"])

    assert scrub.text(text) == text


def test_a_secret_that_contains_another_leaves_no_tail():
    assert SecretScrubber(["abcdefgh", "abcdefghijkl"]).text("x abcdefghijkl y") == "x [redacted] y"


def test_a_word_that_somebody_took_for_a_key_is_not_given_away_by_what_is_masked():
    scrub = SecretScrubber(["ollama", "info", "demo", "a"])
    line = "INFO [-] demo/small: ollama answered"

    assert scrub.text(line) == line
    assert scrub.bytes(line.encode()) == line.encode()


@pytest.mark.parametrize("alike", ["sk-proj-", "AIzaSy", "key-", ""])
def test_of_many_secrets_each_is_found_whatever_they_have_in_common(alike):
    secrets = [f"{alike}{hashlib.sha256(str(n).encode()).hexdigest()}" for n in range(300)]
    scrubber = SecretScrubber([*secrets, "another-kind-of-secret"])

    assert scrubber.text(f"'{secrets[17]}' and another-kind-of-secret; {alike}nothing") == (
        f"'{MASK}' and {MASK}; {alike}nothing"
    )
    assert scrubber.text("a line without any " * 500) == "a line without any " * 500
