"""Members set in files that people write."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy_plugin_clients import jsonc
from proxy_plugin_clients.endpoint import Key
from proxy_plugin_clients.merging import merged
from proxy_plugin_clients.program import ConfigFile

NAMES = st.text(st.sampled_from('abc"\\/*\n,}é '), max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)
GAPS = ("", " ", "\n", '// c } ] , "\n', "/* , { */", " \t/**/ // x\n")


def written(value, gap):
    """JSON with comments and trailing commas in its gaps."""
    if isinstance(value, dict):
        pairs = (
            f"{gap()}{json.dumps(name)}{gap()}:{gap()}{written(inner, gap)}{gap()}" for name, inner in value.items()
        )
        text = ",".join(pairs)
        return "{" + text + ("," + gap() if text and gap() else gap()) + "}"
    if isinstance(value, list):
        text = ",".join(f"{gap()}{written(inner, gap)}{gap()}" for inner in value)
        return "[" + text + ("," if text and gap() else "") + gap() + "]"
    return json.dumps(value)


def expected(below, above):
    result = dict(below)
    for name, value in above.items():
        inner = result.get(name)
        if isinstance(value, dict) and value:
            value = expected(inner if isinstance(inner, dict) else {}, value)
        result[name] = value
    return result


@given(OBJECTS, OBJECTS, st.data())
def test_the_result_has_both_sides_values_whatever_stands_between_them(below, above, data):
    text = written(below, lambda: data.draw(st.sampled_from(GAPS)))

    assert jsonc.parse(text) == below
    assert jsonc.parse(jsonc.merged(text, above)) == expected(below, above)


def pruned(value, path):
    name, *rest = path
    if not isinstance(value, dict) or name not in value:
        return value
    if rest:
        return {**value, name: pruned(value[name], rest)}
    return {key: inner for key, inner in value.items() if key != name}


@given(OBJECTS, st.lists(NAMES, min_size=1, max_size=3), st.data())
def test_a_member_is_removed_whatever_stands_around_it(value, path, data):
    text = written(value, lambda: data.draw(st.sampled_from(GAPS)))

    assert jsonc.parse(jsonc.without(text, path)) == pruned(value, path)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{\n  "a": 1,\n  "b": 2\n}\n', '{\n  "b": 2\n}\n'),
        ('{\n  "b": 2,\n  "a": 1\n}\n', '{\n  "b": 2\n}\n'),
        ('{"b": 2, /* one */ "a": 1, // two\n}', '{"b": 2, /* one */  // two\n}'),
        ('{"a": 1}', "{}"),
        ('{"a": 1, "b": 2, "a": 3}', '{"b": 2 }'),
        ('{"b": {"a": 1}}', '{"b": {"a": 1}}'),
    ],
)
def test_a_removed_member_takes_its_line_and_one_comma_with_it(text, left):
    assert jsonc.without(text, ["a"]).replace("{ ", "{") == left


def test_everything_else_keeps_its_place_and_layout():
    text = '// head\n{\n    "a": 1, // one\n    "b": {"c": [1, 2,]}, /* end */\n}\n'

    assert jsonc.merged(text, {"b": {"c": 3, "d": 4}, "a": "x"}) == (
        '// head\n{\n    "a": "x", // one\n    "b": {\n    "d": 4,"c": 3}, /* end */\n}\n'
    )
    assert jsonc.merged(text, jsonc.parse(text)).replace(" ", "").replace("\n", "") == (
        text.replace(",]", "]").replace(" ", "").replace("\n", "")
    )


def test_an_empty_file_gets_the_values_alone():
    assert jsonc.merged("", {"a": {"b": 1}}) == '{\n  "a": {\n    "b": 1\n  }\n}\n'
    assert jsonc.merged("{}", {"a": {"b": 1}}) == '{\n  "a": {\n    "b": 1\n  }\n}'


@pytest.mark.parametrize("text", ["{", "[]", '{"a": }', '"a"', "{'a': 1}", "/* ", '{"a": 1} x'])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError):
        jsonc.merged(text, {"a": 1})


def file(form, removes=(), **values):
    extras = ["comments", "trailing commas"]
    return ConfigFile(path=Path("x"), format=form, values=values, removes=removes, extras=extras)


def test_byte_order_marks_and_line_ends_are_kept():
    assert (
        merged(file("json", b=1), b'\xef\xbb\xbf{\r\n "a": 1\r\n}\r\n')
        == b'\xef\xbb\xbf{\r\n  "b": 1,\r\n "a": 1\r\n}\r\n'
    )
    assert merged(file("env", B="2"), b"A=1\r\nB=1\r\n") == b"A=1\r\nB=2\r\n"
    mixed = b"A=1\r\nB=1\nC=3\r\n"
    assert merged(file("env", B="2", C="4"), mixed) == b"A=1\r\nB=2\nC=4\r\n"
    assert merged(file("env", removes=[("A",)]), mixed) == b"B=1\nC=3\r\n"
    assert merged(file("toml", m="b"), b'\xef\xbb\xbfm = "a" # c\r\nn = 1\r\n') == (
        b'\xef\xbb\xbfm = "b" # c\r\nn = 1\r\n'
    )


def test_variables_are_replaced_where_they_are_and_else_added():
    key = Key(command=["cat"], value=SecretStr("pc-1 2"))

    assert merged(file("env", A="x", K=key), b"#A=0\nexport A=1\nAA=2") == b'#A=0\nA=x\nAA=2\nK="pc-1 2"\n'


@pytest.mark.parametrize(
    ("value", "text"),
    [("a#b", '"a#b"'), ("a\\b", "'a\\b'"), ('a"b', "'a\"b'"), ("a\"'b", "`a\"'b`"), ("", "")],
)
def test_a_variable_is_in_quotes_that_leave_it_as_it_is(value, text):
    data = merged(file("env", A=value), b"")

    assert data == f"A={text}\n".encode()
    assert merged(file("env", A=value), data) == data


@pytest.mark.parametrize("value", ["\"'`", "a\nb"])
def test_a_variable_that_no_quotes_can_hold_is_refused(value):
    with pytest.raises(ValueError, match="quotes or line ends"):
        merged(file("env", A=value), b"")


@pytest.mark.parametrize("old", ["A='1\n2'", 'A="1\\"\n2" # c', " A = 1", "export A: 1", "A='1", "A=0\nA=`1\n`"])
def test_a_variable_is_replaced_or_removed_whole(old):
    assert merged(file("env", A="x"), f"B=1\n{old}\nC=1\n".encode()).replace(b"A=x\nA=x", b"A=x") == (
        b"B=1\nA=x\nC=1\n"
    )
    assert merged(file("env", removes=[("A",)]), f"B=1\n{old}\nC=1\n".encode()) == b"B=1\nC=1\n"


def test_values_that_are_there_already_leave_every_byte_as_it_is():
    for form, text in (("env", b"export A = '1' # c\n"), ("json", b'{"A":"1",}'), ("toml", b"A   = '1' # c\n")):
        assert merged(file(form, A="1"), text) == text


def test_tables_are_extended():
    text = b"# c\n[p.x]\nk = 1 # d\n[p.y]\n"

    assert merged(file("toml", m="a", p={"x": {"l": 2}, "z": {"q": {"r": [1]}}}), text) == (
        b'# c\nm = "a"\n\n[p.x]\nk = 1 # d\nl = 2\n[p.y]\n\n[p.z.q]\nr = [1]\n'
    )


def ordered(value):
    return json.dumps(value, sort_keys=True, default=str)


PROVIDER = {"name": "new", "url": "u", "auth": {"command": "c", "args": ["a"]}}
AZURE = 'model_providers.azure.name = "A"\n'
OURS = "[model_providers.proxy]\n"


@pytest.mark.parametrize(
    "text",
    [
        f'{AZURE}model_providers.azure.url = "http://x"\nafter = "never"\n',
        f'{AZURE}model_providers.proxy.name = "old"\nmodel_providers.proxy.key = "k"\nafter = 1\n\n[tui]\na = 1\n',
        'model_providers.proxy.name = "old"',
        'model_providers.proxy = { name = "old", key = "k" }\nafter = nan\n',
        'model_providers = { azure = { name = "A" } }\nafter = 1979-05-27\n',
        'after = 1\n\n[model_providers]\nazure.name = "A"\nproxy = { auth = {} }\n\n[tui]\na = 1\n',
        f"model_providers.proxy.auth.args = []\nafter = 1\n\n{OURS[:-2]}.auth.more]\na = 1\n\n[[mcp]]\na = 1\n",
        f'after = 1\n\n{OURS}auth.command = "old"\n\n[tui]\na = 1\n',
        f'{OURS}name = "old"\nkey = "k"\n\n[tui]\na = 1\n\n[model_providers.azure]\nname = "A"\n\n[[mcp]]\na = 1\n',
    ],
)
def test_tables_stay_what_they_are_however_they_are_written(text):
    before = tomllib.loads(text)
    ours = before.get("model_providers", {}).get("proxy", {})
    ours.pop("key", None)
    changes = file("toml", removes=[("model_providers", "proxy", "key")], m="a", model_providers={"proxy": PROVIDER})

    after = merged(changes, text.encode())

    wanted = expected(before, {"m": "a", "model_providers": {"proxy": PROVIDER}})
    assert ordered(tomllib.loads(after.decode())) == ordered(wanted)
    assert merged(changes, after) == after
    assert after.count(b"\n\n[") >= text.count("\n\n[")


def test_a_file_in_which_something_else_would_change_is_refused():
    with pytest.raises(ValueError, match="keep everything else"):
        merged(file("env", B='y"z'), b'A="x\n')
