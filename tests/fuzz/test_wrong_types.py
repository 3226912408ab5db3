"""Each documented field of each chat format with each wrong type: refused by its own name before it is translated."""

import copy
import json

import pytest
from documented import FORMATS
from msgspec.structs import replace

from proxy_core import BadRequest

#: One of each type; those that are empty are often taken for nothing.
WRONG = (True, False, 0, 7, 1.5, 10**30, "zzz", "", [], {}, [7], {"a": 1})
#: What such a field may be besides what it is in the example. In strings and lists, the proxy looks at the parts.
ALSO = {
    "content": (str, list),
    "image_url": (str,),
    "input": (str, list),
    "output": (str, list),
    "stop": (str,),
    "system": (str,),
    "citations": (list,),
    "systemInstruction": (str,),
    "responseJsonSchema": (bool,),
}
#: Their members are the client's own.
OPEN = frozenset(
    "parameters schema input_schema parametersJsonSchema responseJsonSchema metadata logit_bias labels safetySettings "
    "args response arguments".split()
)
#: A model of each format, as an upstream knows it.
MODELS = {
    "openai_chat": "gpt-5",
    "openai_responses": "gpt-5",
    "anthropic_messages": "claude-opus-4-5",
    "gemini": "gemini-2.5-flash",
}


def kind(value):
    """Whole numbers may be written as others, which are judged by their value."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def fields(value, path=()):
    """Every documented field with its example."""
    if path:
        yield path, value
    if path and (path[-1] in OPEN or (path[-1] == "input" and isinstance(value, dict))):
        return
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from fields(member, (*path, name))


def with_value(body, path, value):
    body = copy.deepcopy(body)
    target = body
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    return body


def written(path, dotted):
    """The path as the format's errors write it."""
    out = ""
    for name in path:
        index = isinstance(name, int) and not dotted
        out += f"[{name}]" if index else f".{name}" if out else name
    return out


def sent(name, body):
    """The request is checked and translated into every other format; the JSON of each."""
    dialect = FORMATS[name][0]
    dialect.check(body)
    chat = dialect.decode(body)
    for other, (wire, _) in FORMATS.items():
        if other != name:
            sampling = replace(chat.sampling, stop=()) if other == "openai_responses" else chat.sampling
            json.dumps(wire.encode(replace(chat, model=MODELS[other], sampling=sampling)), allow_nan=False)


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_is_right(name):
    sent(name, FORMATS[name][1])


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_type_is_refused_by_the_fields_own_name(name):
    dialect, body = FORMATS[name]
    wrong = []
    for path, example in fields(body):
        field = written(path, dotted=name == "anthropic_messages")
        for value in WRONG:
            if kind(value) is kind(example) or type(value) in ALSO.get(path[-1], ()):
                continue
            try:
                sent(name, with_value(body, path, value))
            except BadRequest as error:
                encoded = dialect.encode_error(error, "req")
                if encoded.status != 400 or field not in json.loads(encoded.body)["error"]["message"]:
                    wrong.append(f"{field} = {value!r}: {encoded.body.decode()}")
            except Exception as error:
                wrong.append(f"{field} = {value!r}: {error!r}")
            else:
                wrong.append(f"{field} = {value!r}: accepted")

    assert wrong == []


#: Of the right type, but nothing that a field can mean.
@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_or_a_strange_value_of_the_right_type_fails_as_the_clients_fault_or_not_at_all(name):
    dialect, body = FORMATS[name]
    for path, example in fields(body):
        for value in (*WRONG, -1, -1.5, [None], [[]], "\ud800", "data:;base64,####"):
            if kind(value) is kind(example) or type(value) in ALSO.get(path[-1], ()):
                try:
                    sent(name, with_value(body, path, value))
                except BadRequest as error:
                    assert dialect.encode_error(error, "req").status == 400
