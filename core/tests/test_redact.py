"""Known secrets never get through."""

from hypothesis import given
from hypothesis import strategies as st

from proxy_core.records.redact import SecretScrubber

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
