"""The client's name for the model in relayed responses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import sse
from proxy_core.dialects.model_name import ModelName, renamed

WHOLE = {
    "first": (b'{"model":"up","choices":[{"model":"up"}]}', b'{"model":"mine","choices":[{"model":"up"}]}'),
    "last": (b'{"data":[{"model":"up"}],"model" :\n"up"}\n', b'{"data":[{"model":"up"}],"model" :\n"mine"}\n'),
    "between": (
        b'{"a":{"model":"up"},"model":"up","b":{"model":"up"}}',
        b'{"a":{"model":"up"},"model":"mine","b":{"model":"up"}}',
    ),
    "escaped": (b'{"x":"\\"model\\":\\"up\\"","model":"u\\"p"}', b'{"x":"\\"model\\":\\"up\\"","model":"mine"}'),
    "value": (b'{"kind":"model","model":"up"}', b'{"kind":"model","model":"mine"}'),
    "brace": (b'{"id":"{[","model":"up"}', b'{"id":"{[","model":"mine"}'),
    "inside": (b'{"a":{"model":"up"}}', b'{"a":{"model":"up"}}'),
    "null": (b'{"model":null}', b'{"model":null}'),
    "none": (b'{"choices":[]}', b'{"choices":[]}'),
    "broken": (b'{"a":}{"model":"up"', b'{"a":}{"model":"up"'),
    "empty": (b"", b""),
}


@pytest.mark.parametrize(("response", "expected"), WHOLE.values(), ids=WHOLE)
def test_only_the_responses_own_member_is_renamed(response, expected):
    assert renamed(response, "model", "mine") == expected


def test_a_large_response_is_renamed_at_either_end_and_not_read():
    text = b'"%s"' % (b"x" * 20_000_000)

    assert renamed(b'{"model":"up","a":' + text + b"}", "model", "mine").startswith(b'{"model":"mine","a":"xxx')
    assert renamed(b'{"a":' + text + b',"model":"up"}', "model", "mine").endswith(b'xxx","model":"mine"}')


def event(body, end=b"\n\n", spaces=False):
    return b"data: " + json.dumps(body, separators=(", ", ": ") if spaces else (",", ":")).encode() + end


#: The orders and oddities that are in use.
CHOICES = [[{"delta": {"content": f"word {n}", "raw": {"model": "up"}}}] for n in range(3)]
STREAMS = {
    "in front": [{"id": "x", "model": "up", "choices": c} for c in CHOICES],
    "behind": [{"choices": c, "id": "x", "model": "up", "usage": None} for c in CHOICES],
    "after ids that differ": [{"id": f"x{n}", "model": "up", "choices": c} for n, c in enumerate(CHOICES)],
    "between values": [{"choices": c, "model": "up", "usage": {"n": n}} for n, c in enumerate(CHOICES)],
    "sometimes": [{"model": "up", "choices": []}, {"choices": CHOICES[0]}, {"model": "up", "id": "[{", "choices": []}],
}


@pytest.mark.parametrize("name", ["mine", "up", "vendor/m:free", 'quoted"\\1', "ünï", ""])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("spaces", [True, False])
@pytest.mark.parametrize("sent", STREAMS.values(), ids=STREAMS)
def test_every_event_of_a_stream_has_the_clients_name(name, end, spaces, sent):
    events = [event(body, end, spaces) for body in sent]
    wanted = [{**body, "model": name} if "model" in body else body for body in sent]

    for size in (1, 2, 3):
        naming = ModelName("model", name)
        out = b"".join(naming.put(b"".join(events[i : i + size])) for i in range(0, 3, size))
        assert [json.loads(e.data) for e in sse.events(out)] == wanted


def test_an_event_may_have_several_lines():
    lines = b'event: x\ndata: {"id": "1",\ndata: "model":\ndata: "up",\ndata: "choices": [{"model": "up"}]}\n\n'
    naming = ModelName("model", "mine")

    for _ in range(2):
        assert naming.put(lines) == lines.replace(b'data: "up",', b'data: "mine",')


def test_a_name_that_changes_in_mid_stream_is_replaced_too():
    naming = ModelName("model", "mine")
    first, *others = (event({"id": "", "model": name, "choices": []}) for name in ("", "up", "up", "other"))

    assert naming.put(first + others[0]) + naming.put(others[1]) + naming.put(others[2]) == 4 * event(
        {"id": "", "model": "mine", "choices": []}
    )


@given(st.binary(max_size=300))
def test_whatever_is_no_event_of_a_response_passes(noise):
    naming = ModelName("model", "mine")
    naming.put(event({"id": "x", "model": "up"}))

    assert naming.put(noise) == noise


def test_comments_the_end_marker_and_text_that_looks_like_the_member_pass():
    naming = ModelName("model", "mine")
    said = event({"model": "up", "choices": [{"delta": {"content": 'data: {"model":"up"'}}]})
    others = b': "model":"up"\n\n' + b"data: [DONE]\n\n"

    assert naming.put(said + others + said) == said.replace(
        b'{"model":"up"', b'{"model":"mine"', 1
    ) + others + said.replace(b'{"model":"up"', b'{"model":"mine"', 1)
