"""Sources that a model names for spans of its text reach clients of every format, plain and streamed."""

import json
from itertools import permutations

import pytest
from documented import FORMATS

from proxy_core import Citation, Finish, InlineData, ResponseContext, TextDelta, sse
from proxy_core.dialects.openai_chat import media_event
from proxy_plugin_anthropic.dialect.foreign import without_foreign

PAGE = {"url": "https://x.example/a", "title": "A"}
TEXT = "Grüße aus Oslo."
#: "aus Oslo", in characters and in bytes.
SPAN, BYTES = {"start_index": 6, "end_index": 14}, {"startIndex": 8, "endIndex": 16}


def note(**about):
    return {"type": "url_citation", "url_citation": {**PAGE, **about}}


def chat_response():
    message = {"role": "assistant", "content": TEXT, "annotations": [note(**SPAN)]}
    return {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def responses_response():
    part = {"type": "output_text", "text": TEXT, "annotations": [{"type": "url_citation", **PAGE, **SPAN}]}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}


def anthropic_response():
    location = {"type": "web_search_result_location", **PAGE, "cited_text": "Oslo", "encrypted_index": "e"}
    content = [{"type": "text", "text": TEXT[:6]}, {"type": "text", "text": TEXT[6:14], "citations": [location]}]
    content.append({"type": "text", "text": TEXT[14:]})
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn", "usage": {}}


def gemini_response():
    web = {"uri": PAGE["url"], "title": PAGE["title"]}
    support = {"segment": {**BYTES, "text": "aus Oslo"}, "groundingChunkIndices": [0]}
    grounding = {"groundingChunks": [{"web": web}], "groundingSupports": [support]}
    content = {"role": "model", "parts": [{"text": TEXT}]}
    return {"candidates": [{"content": content, "finishReason": "STOP", "groundingMetadata": grounding}]}


SAID = {
    "openai_chat": chat_response,
    "openai_responses": responses_response,
    "anthropic_messages": anthropic_response,
    "gemini": gemini_response,
}


def encoded(client, events, *, stream):
    """What a client gets: the response, or the events of a stream."""
    dialect = FORMATS[client][0]
    body = {**FORMATS[client][1], "stream": stream}
    extra = {"request": body} if client == "openai_responses" else {}
    context = ResponseContext(id="r", model="m", stream=stream, include_usage=True, created=1, extra=extra)
    encoder = dialect.encoder(context)
    data = encoder.feed(events) + encoder.close()
    if not stream:
        return [json.loads(data)]
    return [json.loads(event.data) for event in sse.events(data) if event.data != b"[DONE]"]


def found_in(value, name):
    """All values of the members of this name."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value[name]] if isinstance(value, dict) and name in value else []
    return own + [found for member in inner for found in found_in(member, name)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("upstream", "client"), list(permutations(FORMATS, 2)))
def test_a_source_reaches_the_client_once(upstream, client, stream):
    decoder = FORMATS[upstream][0].decoder(False)
    events = [*decoder.feed(json.dumps(SAID[upstream]()).encode()), *decoder.close()]

    got = encoded(client, events, stream=stream)

    if stream and client == "openai_responses":  # the end repeats what the deltas say
        got = [event for event in got if event["type"] == "response.completed"]
    assert set(found_in(got, "url") + found_in(got, "uri")) == {PAGE["url"]}
    assert len(found_in(got, "url") + found_in(got, "uri")) == 1
    if client == "gemini":
        assert found_in(got, "segment") == [{**BYTES, "text": "aus Oslo"}]
    if client in ("openai_chat", "openai_responses"):
        assert (found_in(got, "start_index"), found_in(got, "end_index")) == ([6], [14])


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_own_servers_do_not_get_the_sources_of_others_back(stream):
    events = [TextDelta(text=TEXT), Citation(dialect="openai_chat", payload=note(**SPAN)), Finish(reason="stop")]
    got = encoded("anthropic_messages", events, stream=stream)
    (citation,) = found_in(got, "citation") if stream else found_in(got, "citations")[0]

    def body(*citations):
        block = {"type": "text", "text": TEXT, "citations": list(citations)}
        return {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [block]}]}

    own = anthropic_response()["content"][1]["citations"][0]
    (_, said) = without_foreign(body(citation, own), unsigned=True)["messages"]
    assert said["content"] == [{"type": "text", "text": TEXT, "citations": [own]}]
    (_, said) = without_foreign(body(citation), unsigned=True)["messages"]
    assert said["content"] == [{"type": "text", "text": TEXT}]
    assert without_foreign(untouched := body(own), unsigned=True) is untouched


def grounded(*, parts, supports=True, last=None):
    web = {"uri": PAGE["url"], "title": PAGE["title"]}
    support = {"segment": {**BYTES, "text": "aus Oslo"}, "groundingChunkIndices": [0]}
    grounding = {"groundingChunks": [{"web": web}], **({"groundingSupports": [support]} if supports else {})}
    first = {"content": {"role": "model", "parts": parts}}
    return [
        first,
        {"content": {"role": "model", "parts": last or []}, "finishReason": "STOP", "groundingMetadata": grounding},
    ]


CALL = {"functionCall": {"id": "c1", "name": "f", "args": {}}}
SIGNED = {"text": TEXT, "thoughtSignature": "c2ln"}
#: Gemini's responses with a source, by what surrounds its text.
GROUNDED = {
    "a signed text": grounded(parts=[SIGNED]),
    "a signature at the end": grounded(parts=[{"text": TEXT}], last=[{"text": "", "thoughtSignature": "c2ln"}]),
    "a call afterwards": grounded(parts=[{"text": TEXT}, CALL]),
    "a call at the end": grounded(parts=[{"text": TEXT}], last=[CALL]),
    "a signed call": grounded(parts=[{"text": TEXT}, {**CALL, "thoughtSignature": "c2ln"}]),
    "a text after a signature": grounded(parts=[{"text": TEXT[:3], "thoughtSignature": "c2ln"}, {"text": TEXT[3:]}]),
    "no span": grounded(parts=[{"text": TEXT}], supports=False),
    "no span, signed": grounded(parts=[SIGNED], supports=False),
    "no span, a call": grounded(parts=[{"text": TEXT}, CALL], supports=False),
    "no text": grounded(parts=[CALL], supports=False),
    "said twice": [*grounded(parts=[{"text": TEXT}])[:1], *2 * grounded(parts=[])[1:]],
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "anthropic_messages"])
@pytest.mark.parametrize("said", GROUNDED.values(), ids=GROUNDED)
def test_a_source_of_googles_reaches_clients_wherever_it_comes(said, client, stream):
    decoder = FORMATS["gemini"][0].decoder(stream)
    if stream:
        data = b"".join(sse.encode(json.dumps({"candidates": [candidate]}).encode()) for candidate in said)
    else:
        parts = [part for candidate in said for part in candidate["content"]["parts"]]
        whole = {**said[-1], "content": {"role": "model", "parts": parts}}
        data = json.dumps({"candidates": [whole]}).encode()
    events = [*decoder.feed(data), *decoder.close()]

    got = encoded(client, events, stream=stream)

    if stream and client == "openai_responses":
        assert sum(event["type"] == "response.output_text.annotation.added" for event in got) == 1
        got = [event for event in got if event["type"] == "response.completed"]
    assert found_in(got, "url") == [PAGE["url"]]
    if client == "openai_responses":
        assert cited_texts(got[-1].get("response", got[-1])) <= {"aus Oslo", ""}


def cited_texts(response):
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return {part["text"][note["start_index"] : note["end_index"]] for part in parts for note in part["annotations"]}


def test_an_empty_block_with_sources_of_others_is_not_sent_to_anthropic():
    citation = {"type": "web_search_result_location", **PAGE, "cited_text": "", "encrypted_index": "proxy1.x"}
    said = [{"type": "text", "text": TEXT}, {"type": "text", "text": "", "citations": [citation]}]
    body = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said}]}

    assert without_foreign(body, unsigned=True)["messages"][1]["content"] == said[:1]


IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
URL = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("upstream", ["gemini", "openai_chat", "openai_responses"])
def test_an_image_in_a_response_reaches_clients_once_or_they_are_told(upstream, client, stream):
    image = [{"type": "image_url", "image_url": {"url": URL}}]
    message = {"role": "assistant", "content": "look", "images": image}
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
    content = {"role": "model", "parts": [{"text": "look"}, IMAGE]}
    said = {
        "gemini": {"candidates": [{"content": content, "finishReason": "STOP"}]},
        "openai_chat": {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]},
        "openai_responses": {"id": "r", "object": "response", "status": "completed", "output": [item]},
    }
    decoder = FORMATS[upstream][0].decoder(False)
    events = [*decoder.feed(json.dumps(said[upstream]).encode()), *decoder.close()]

    got = encoded(client, events, stream=stream)

    if stream and client == "openai_responses":
        got = [event for event in got if event["type"] == "response.completed"]
    if client == "anthropic_messages":
        assert "content of type image/png" in json.dumps(got)
    else:
        assert json.dumps(got).count("iVBORw0KGgo=") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_source_is_not_that_of_a_note(stream):
    events = [TextDelta(text="look"), media_event(InlineData(media_type="image/png", data="aGk="))]
    events += [Citation(dialect="openai_chat", payload=note(start_index=0, end_index=4)), Finish(reason="stop")]

    got = encoded("anthropic_messages", events, stream=stream)

    texts = [event.get("index") for event in got if "image/png" in json.dumps(event)]
    cited = [event.get("index") for event in got if "x.example" in json.dumps(event)]
    if stream:
        assert set(texts).isdisjoint(cited)
    else:
        assert [block["text"] for block in got[0]["content"] if "citations" in block] == [""]
