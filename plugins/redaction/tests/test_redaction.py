"""Secrets are removed everywhere; text without secrets stays unchanged; hostile text costs no extra time."""

import copy
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.testing import plugin_context
from proxy_plugin_redaction import PLUGIN, proxy_redactors
from proxy_plugin_redaction.patterns import PERSONAL
from proxy_plugin_redaction.settings import RedactionSettings

MASK = "[redacted]"


def redactor(**settings):
    context = plugin_context(PLUGIN.name, {"plugins": {"redaction": settings}}, folder=Path("/"))
    return proxy_redactors(context)[0].redact


REDACT = redactor()
PERSONAL_TOO = redactor(personal=list(PERSONAL))

# Made up, in the vendors' shapes; put together here so that no scanner takes this file for a leak.
BODY = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
SECRETS = {
    "openai": "sk-" + BODY,
    "openai project": "sk-proj-" + BODY,
    "anthropic": "sk-ant-api03-" + BODY,
    "openrouter": "sk-or-v1-" + BODY,
    "stripe": "sk_live_" + BODY,
    "google": "AIza" + BODY,
    "google oauth": "ya29." + BODY,
    "google refresh": "1//0" + BODY,
    "google client": "GOCSPX-" + BODY,
    "groq": "gsk_" + BODY,
    "xai": "xai-" + BODY,
    "hugging face": "hf_" + BODY,
    "nvidia": "nvapi-" + BODY,
    "github": "ghp_" + BODY,
    "github fine": "github_pat_" + BODY,
    "gitlab": "glpat-" + BODY,
    "slack": "xoxb-" + BODY,
    "aws": "AKIA" + "ABCDEFGHIJ234567",
    "jwt": "eyJhbGciOiJI." + "eyJzdWIiOiIx." + BODY,
    "zai": "0123456789abcdef" * 2 + "." + BODY[:16],
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMII" + BODY + "\n-----END RSA PRIVATE KEY-----",
    "pem, unterminated": "-----BEGIN PRIVATE KEY-----\nMII" + BODY,
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "around", ["{}", "see {}.", '{{"x": "{}"}}', "a\n{}\nb", "glued{}", "https://x.example/{}?y", "x={},"]
)
def test_vendors_keys_go_from_any_text(secret, around):
    cleaned = REDACT({"text": around.format(secret)})["text"]

    assert secret not in cleaned
    assert BODY[4:] not in cleaned
    assert MASK in cleaned


CONTEXTS = {
    "bearer": ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [redacted]"),
    "bearer alone": ("sent bearer abcdef0123456789xyz", "sent bearer [redacted]"),
    "basic": ('"authorization": "Basic dXNlcjpwYXNz"', '"authorization": "Basic [redacted]"'),
    "query": ("GET /v1/models?alt=sse&key=hunter22&x=1", "GET /v1/models?alt=sse&key=[redacted]&x=1"),
    "token in a link": ("https://x/?access_token=abc123#top", "https://x/?access_token=[redacted]#top"),
    "assigned": ("OPENAI_API_KEY=abc123def", "OPENAI_API_KEY=[redacted]"),
    "escaped JSON": (r"{\"api_key\": \"abc123def\"}", r"{\"api_key\": \"[redacted]\"}"),
    "escaped twice": (r"{\\\"api_key\\\": \\\"abc123def\\\"}", r"{\\\"api_key\\\": \\\"[redacted]\\\"}"),
    "escaped authorization": (
        r"{\\\"authorization\\\": \\\"Basic dXNlcjpwYXNz\\\"}",
        r"{\\\"authorization\\\": \\\"Basic [redacted]\\\"}",
    ),
    "cookie in JSON": (r"{\"cookie\": \"session=abc\"", r"{\"cookie\": \"[redacted]"),
    "yaml": ("password: hunter22", "password: [redacted]"),
    "cookie": ("Cookie: session=abc; theme=dark", "Cookie: [redacted]"),
}


@pytest.mark.parametrize(("text", "cleaned"), CONTEXTS.values(), ids=CONTEXTS)
def test_what_only_its_context_shows_goes_and_the_context_stays(text, cleaned):
    assert REDACT({"text": text})["text"] == cleaned


@pytest.mark.parametrize(
    "name", "authorization X-API-Key api_key x-goog-api-key Cookie set-cookie password client_secret MY_API_KEY".split()
)
def test_a_field_that_holds_secrets_by_name_loses_its_value(name):
    found = REDACT({"a": [{name: "plain words"}], "headers": {name: "x"}, "n": {name: 1234, "l": {name: ["v"]}}})

    assert found == {"a": [{name: MASK}], "headers": {name: MASK}, "n": {name: MASK, "l": {name: [MASK]}}}


def test_a_schema_that_mentions_a_password_stays():
    schema = {
        "properties": {"password": {"type": "string"}, "max_tokens": {"type": "integer"}},
        "required": ["password"],
    }

    assert REDACT(schema) == schema


ORDINARY = """
The password is required. | basic understanding of bearer tokens | Authorization is a header.
sk-learn-contrib-extensions
task-scheduler-for-background-work-2 | risk-assessment-2024-report-final | password: required
max_tokens=100 | token: hello | def api_key(self): return self.key
password = get_password() | secret: a story about a key | 2024-01-02T03:04:05Z | 550e8400-e29b-41d4-a716-446655440000
{"max_completion_tokens": 4096, "prompt_tokens": 12} | https://example.com/?page=2&q=key | eyJ is how JWTs begin
cookie recipes: butter and sugar | a key: value store | ask-me-anything-about-python-3 is fine
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("text", [t.strip() for t in ORDINARY if t.strip()])
def test_ordinary_text_stays(text):
    record = {"text": text, "deep": [{"x": [text]}]}

    assert REDACT(record) == record


PII = {
    "email": "ann.lee+x@mail.example.com",
    "email, other script": "käthe@bücher.example",
    "card": "4111 1111 1111 1111",
    "card, dashes": "5500-0000-0000-0004",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ip": "192.168.17.4",
    "ipv6": "2001:db8::8a2e:370:7334",
    "phone": "+49 30 901820",
    "phone, us": "(555) 123-4567",
}


@pytest.mark.parametrize("value", PII.values(), ids=PII)
def test_personal_data_is_redacted_only_on_request(value):
    record = {"text": f"it is {value}, I think"}

    assert REDACT(record) is record
    assert PERSONAL_TOO(record) == {"text": f"it is {MASK}, I think"}


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 02",
        "300.1.2.3",
        "12:30:45",
        "version 1.2.3",
        "order 12345678901234",
    ],
)
def test_what_fails_its_checksum_is_not_personal_data(text):
    assert PERSONAL_TOO({"text": text}) == {"text": text}


def test_a_card_among_other_numbers_is_found():
    assert PERSONAL_TOO({"t": "12 4111 1111 1111 1111 99"})["t"] == f"12 {MASK} 99"


def test_own_patterns_and_fields():
    redact = redactor(patterns={"ticket": r"TICKET-(\d+)"}, fields=["X-Internal"])

    assert redact({"t": "see TICKET-42", "x_internal": "a"}) == {"t": f"see {MASK}", "x_internal": MASK}


@pytest.mark.parametrize(
    "wrong",
    [
        {"patterns": {"x": "("}},
        {"patterns": {"x": "(?=a)b"}},
        {"patterns": {"x": "a*"}},
        {"patterns": {"email": "x"}},
        {"personal": ["shoe_size"]},
        {"mask": ["ticket"]},
    ],
)
def test_wrong_settings_are_reported(wrong, capfd):
    with pytest.raises(ValueError, match=r"RE2|free name|not one of|everywhere"):
        RedactionSettings(**wrong)
    assert capfd.readouterr().err == ""


# --- Properties --------------------------------------------------------------------------

words = st.text(alphabet="abcdefgh XYZ.,!?\n'", max_size=30)
shapes = st.recursive(
    words | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(words, shapes, max_size=4))
def test_words_stay_in_any_shape(record):
    assert PERSONAL_TOO(record) is record


@given(
    record=st.dictionaries(words, shapes, max_size=3),
    secret=st.sampled_from(list(SECRETS.values())),
    before=words,
    path=st.lists(st.sampled_from(["list", "key", "dict"]), max_size=6),
)
def test_a_secret_in_any_shape_goes_and_the_rest_stays(record, secret, before, path):
    planted = f"{before} {secret}"
    for step in path:
        planted = [planted, "x"] if step == "list" else {"k": planted} if step == "dict" else {"k": 1, str(planted): 2}
    original = copy.deepcopy({**record, "planted": planted})

    cleaned = REDACT({**record, "planted": planted})

    assert json.dumps(secret)[1:-1] not in json.dumps(cleaned)
    assert {k: v for k, v in cleaned.items() if k != "planted"} == record | {}
    assert original == {**record, "planted": planted}


# --- Time --------------------------------------------------------------------------------


def test_a_megabyte_of_prose_is_cleaned_in_50_ms():
    text = "The quick brown fox jumps over the lazy dog, 42 times; see https://example.com/?page=2. " * 12_000
    record = {"body": {"messages": [{"role": "user", "content": text[:1_000_000] + SECRETS["openai"]}]}}
    took = []
    for _ in range(7):  # the best of several: other programs share the machine
        began = time.process_time()
        cleaned = PERSONAL_TOO(record)
        took.append(time.process_time() - began)

    assert BODY not in json.dumps(cleaned)
    assert min(took) < 0.05


HOSTILE = {
    "groups": "1111 ",
    "digits": "1",
    "spaced digits": "1 ",
    "dots": "a.",
    "at signs": "a@",
    "colons": "::",
    "dashes": "-----BEGIN ",
    "begin keys": "-----BEGIN PRIVATE KEY-----",
    "jwt beginnings": "eyJaaaaaaaaa.",
    "names": "api_key",
    "plus": "+1 (2) ",
    "letters": "A",
    "quotes": '\\"',
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_a_megabyte_of_anything_takes_time_in_proportion(piece):
    def seconds(size):
        record = {"body": {"messages": [{"content": (piece * (size // len(piece) + 1))[:size]}]}}
        began = time.process_time()
        PERSONAL_TOO(record)
        return time.process_time() - began

    limit_s = max(0.05, 20 * min(seconds(100_000) for _ in range(3)))
    assert any(
        seconds(1_000_000) < limit_s for _ in range(3)
    )  # what else this process keeps may be collected meanwhile


def test_a_megabyte_of_small_strings_is_cleaned_in_time():
    messages = [{"role": "user", "content": [{"type": "text", "text": f"message {n} of many"}]} for n in range(13_000)]
    assert len(json.dumps(messages)) > 1_000_000
    messages[77]["content"][0]["text"] = SECRETS["openai"]
    took = []
    for _ in range(7):
        began = time.process_time()
        cleaned = REDACT({"messages": messages, "headers": {"authorization": "Bearer x"}})
        took.append(time.process_time() - began)

    assert BODY not in json.dumps(cleaned)
    assert min(took) < 0.15  # on an idle machine it takes a third of that


@pytest.mark.parametrize("pattern", [r"^ticket", r"\Aticket", r"ticket$", r"ticket\z", "(?m)^ticket$"])
def test_own_patterns_may_be_anchored_to_the_text(pattern):
    redact = redactor(patterns={"tickets": pattern})

    assert redact({"a": "before", "b": ["ticket"], "c": "after"}) == {"a": "before", "b": [MASK], "c": "after"}


@pytest.mark.parametrize("letters", [40, 150])
def test_patterns_too_large_for_one_search_are_still_all_looked_for(letters):
    redact = redactor(patterns={"large": rf"\pL{{{letters}}}T", "larger": rf"T\pL{{{letters}}}"})

    assert redact({"a": "x" * letters + "T", "b": SECRETS["jwt"], "c": "xT"}) == {"a": MASK, "b": MASK, "c": "xT"}


def test_what_stood_behind_something_that_was_taken_out_goes_too():
    redact = redactor(patterns={"mark": "MARK[0-9]", "word": r"\bhidden\b"})

    assert redact({"a": "MARK1hidden."}) == {"a": f"{MASK}{MASK}."}


def test_halves_of_surrogate_pairs_do_not_stop_redaction():
    found = REDACT({"text": "\ud83d " + SECRETS["openai"], "other": "\udc00"})

    assert BODY not in json.dumps(found)
