"""JSON Schema in, Gemini's few keywords out."""

import copy
import json

import jsonschema
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from proxy_plugin_gemini.dialect.schema import KEYWORDS, clean_parameters, clean_response, upper_types
from proxy_plugin_gemini.dialect.schema_plain import plain_schema


def prop(schema, **root):
    """The cleaned form of one property."""
    cleaned = clean_parameters({"type": "object", "properties": {"p": schema, "q": {"type": "string"}}, **root})
    return cleaned["properties"].get("p")


STRING, ANY = {"type": "string"}, {"type": "object"}


@pytest.mark.parametrize(
    ("given_schema", "cleaned"),
    [
        # const and enum
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"const": 5}, {"type": "integer", "description": "Must be 5."}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2."}),
        ({"enum": ["a", 1]}, {"type": "string", "enum": ["a", "1"]}),
        ({"enum": ["a", "", None, "a"]}, {"type": "string", "enum": ["a"], "nullable": True}),
        ({"type": "string", "enum": []}, STRING),
        ({"type": "string", "enum": ["a"], "default": "b"}, {"type": "string", "enum": ["a"]}),
        ({"anyOf": [{"enum": ["a"]}], "default": False}, {"type": "string", "enum": ["a"]}),
        # types
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        (
            {"type": ["string", "integer"], "minLength": 2, "minimum": 1},
            {"anyOf": [{"type": "string", "minLength": 2}, {"type": "integer", "minimum": 1}]},
        ),
        ({"type": "STRING"}, STRING),
        ({"properties": {"a": STRING}}, {"type": "object", "properties": {"a": STRING}}),
        ({"items": STRING}, {"type": "array", "items": STRING}),
        ({}, STRING),
        (True, STRING),
        (False, None),
        # alternatives
        ({"anyOf": [STRING, {"type": "null"}]}, {"type": "string", "nullable": True}),
        ({"oneOf": [STRING, {"type": "number"}]}, {"anyOf": [STRING, {"type": "number"}]}),
        ({"anyOf": [{"type": "integer"}], "description": "d"}, {"type": "integer", "description": "d"}),
        (
            {"type": "object", "properties": {"a": STRING}, "description": "d", "anyOf": [{"required": ["a"]}, {}]},
            {
                "description": "d",
                "anyOf": [
                    {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
                    {"type": "object", "properties": {"a": STRING}},
                ],
            },
        ),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
                    {"properties": {"b": {"type": "number"}}, "required": ["b"]},
                ]
            },
            {"type": "object", "properties": {"a": STRING, "b": {"type": "number"}}, "required": ["a", "b"]},
        ),
        # keywords that Gemini lacks
        *(
            ({"type": "string", keyword: value}, STRING)
            for keyword, value in {
                "not": {"type": "number"},
                "if": {},
                "then": {},
                "else": {},
                "contentEncoding": "base64",
                "contentMediaType": "text/plain",
                "examples": ["x"],
                "readOnly": True,
                "deprecated": True,
                "strict": True,
                "x-order": 1,
                "$comment": "c",
                "$anchor": "a",
                "$id": "https://example.com/s",
                "$schema": "https://json-schema.org/draft/2020-12/schema",
            }.items()
        ),
        *(
            ({"type": "object", keyword: value}, ANY)
            for keyword, value in {
                "patternProperties": {"^a": STRING},
                "propertyNames": STRING,
                "additionalProperties": False,
                "unevaluatedProperties": False,
                "dependentRequired": {"a": ["b"]},
                "dependentSchemas": {"a": {}},
            }.items()
        ),
        ({"type": "array", "items": STRING, "uniqueItems": True, "contains": {}}, {"type": "array", "items": STRING}),
        # numbers
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9}, {"type": "integer", "maximum": 8}),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "minimum": 0}),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, {"type": "number", "minimum": 1}),
        ({"type": "integer", "multipleOf": 5}, {"type": "integer"}),
        # formats
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "string", "format": "uri"}, STRING),
        ({"type": "integer", "format": "int64"}, {"type": "integer", "format": "int64"}),
        # arrays
        ({"type": "array"}, {"type": "array", "items": STRING}),
        ({"type": "array", "items": [STRING, STRING]}, {"type": "array", "items": STRING}),
        (
            {"type": "array", "prefixItems": [STRING, {"type": "number"}]},
            {"type": "array", "items": {"anyOf": [STRING, {"type": "number"}]}},
        ),
        # required
        (
            {"type": "object", "properties": {"a": STRING}, "required": ["a", "a", "gone"]},
            {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
        ),
        (
            {"type": "object", "properties": {"a": STRING}, "required": ["gone"]},
            {"type": "object", "properties": {"a": STRING}},
        ),
        ({"type": "string", "required": True}, STRING),
    ],
)
def test_each_construct_is_cleaned_as_expected(given_schema, cleaned):
    assert prop(given_schema) == cleaned


def test_references_are_inlined_and_their_siblings_win():
    defs = {"a/b": {"type": "string", "description": "of the definition"}, "n": {"type": "integer"}}

    assert prop({"$ref": "#/$defs/a~1b"}, **{"$defs": defs}) == defs["a/b"]
    assert prop({"$ref": "#/$defs/a%7E1b", "description": "mine"}, **{"$defs": defs})["description"] == "mine"
    assert prop({"$ref": "#/definitions/n"}, definitions=defs) == {"type": "integer"}
    assert prop({"$ref": "#/properties/q"}) == STRING


@pytest.mark.parametrize(
    "reference", ["#/$defs/gone", "https://example.com/s.json", "other.json#/a", "#anchor", "#/a/9"]
)
def test_a_reference_that_leads_nowhere_is_any_object(reference):
    assert prop({"$ref": reference}) == ANY


def test_recursion_is_cut_after_one_level():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}}}

    cleaned = prop({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}})

    assert cleaned == {"type": "object", "properties": {"next": ANY, "v": {"type": "integer"}}}


def test_a_reference_to_the_root_and_to_itself_end():
    assert prop({"$ref": "#"})["properties"]["p"] == ANY
    assert prop({"$ref": "#/$defs/a"}, **{"$defs": {"a": {"$ref": "#/$defs/a"}}}) == ANY


def test_references_that_multiply_stay_small():
    defs = {
        f"n{i}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/n{i + 1}"} for k in "abcd"}} for i in range(30)
    }
    defs["n30"] = {"type": "string"}

    assert len(json.dumps(prop({"$ref": "#/$defs/n0"}, **{"$defs": defs}))) < 1_000_000


def test_properties_named_like_keywords_are_data():
    names = ["const", "title", "$ref", "type", "enum", "anyOf", "required", "properties", "not", "$defs"]
    schema = {"type": "object", "properties": {n: {"type": "integer", "not": {}} for n in names}, "required": names}

    cleaned = clean_parameters(schema)

    assert cleaned == {"type": "object", "properties": {n: {"type": "integer"} for n in names}, "required": names}


@pytest.mark.parametrize(
    "schema", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, {"type": "string"}, {"$ref": "#"}]
)
def test_no_arguments_is_no_schema(schema):
    assert clean_parameters(schema) is None


def test_alternatives_at_the_root_become_one_object():
    a = {"type": "object", "properties": {"k": STRING, "a": STRING}, "required": ["k", "a"]}
    b = {"type": "object", "properties": {"k": STRING, "b": STRING}, "required": ["k"]}

    cleaned = clean_parameters({"anyOf": [a, b], "description": "d"})

    assert cleaned["type"] == "object"
    assert cleaned["properties"].keys() == {"k", "a", "b"}
    assert cleaned["required"] == ["k"]


def test_an_answer_need_not_be_an_object():
    assert clean_response({"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": STRING}}) == {
        "type": "array",
        "items": STRING,
    }


def test_the_spelling_of_the_older_field():
    assert upper_types(
        {"type": "object", "properties": {"type": {"anyOf": [STRING, {"type": "array", "items": ANY}]}}}
    ) == {
        "type": "OBJECT",
        "properties": {"type": {"anyOf": [{"type": "STRING"}, {"type": "ARRAY", "items": {"type": "OBJECT"}}]}},
    }


def test_geminis_own_schemas_as_plain_ones():
    own = {
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING", "nullable": True, "format": "enum", "enum": ["x"]},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1", "max_items": 3},
            "c": {"any_of": [{"type": "STRING"}], "nullable": True},
        },
        "propertyOrdering": ["a"],
    }

    assert plain_schema(own) == {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None]},
            "b": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
            "c": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }


# --- Any schema there is -----------------------------------------------------------------

VALIDATOR = jsonschema.Draft202012Validator
TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"]
atoms = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)


def nested(inner):
    return atoms | st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)


values = nested(nested(atoms))
names = st.sampled_from(["a", "b", "$ref", "type", "const", "properties", "anyOf", "ü/~"]) | st.text(max_size=3)
references = st.sampled_from(
    [
        "#",
        "#/",
        "#/$defs/a",
        "#/$defs/b",
        "#/properties/a",
        "#/$defs/ü~1~0",
        "#/allOf/0",
        "#/anyOf/1",
        "x",
        "#a",
        "#/%ff",
    ]
)


def schemas(inner):
    """Objects with a few of the keywords each; with many, nested ones could hardly be drawn."""
    many = st.lists(inner, min_size=1, max_size=2)
    table = st.dictionaries(names, inner, max_size=2)
    counts = st.integers(0, 2**70) | st.just(2.0)
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    keywords = {
        "$ref": references,
        "$defs": table,
        "definitions": table,
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
        "enum": st.lists(values, max_size=3),
        "const": values,
        "properties": table,
        "patternProperties": table,
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": st.lists(names, max_size=3, unique=True),
        "items": inner,
        "prefixItems": many,
        "contains": inner,
        "anyOf": many,
        "oneOf": many,
        "allOf": many,
        "not": inner,
        "if": inner,
        "minimum": numbers,
        "maximum": numbers,
        "exclusiveMinimum": numbers,
        "exclusiveMaximum": numbers,
        "multipleOf": st.just(2),
        "minLength": counts,
        "maxItems": counts,
        "minProperties": counts,
        "pattern": st.just("^a"),
        "format": st.sampled_from(["date-time", "uri", "int32"]),
        "title": st.text(max_size=3),
        "description": st.text(max_size=3),
        "default": values,
        "examples": st.lists(values, max_size=2),
        "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2),
        "x-own": values,
    }
    chosen = st.lists(st.sampled_from(list(keywords)), max_size=5, unique=True)

    @st.composite
    def some(draw):
        return {name: draw(keywords[name]) for name in draw(chosen)}

    return some()


leaves = st.booleans() | st.just({})
any_schema = schemas(leaves | schemas(leaves | schemas(leaves)))


def check(node, at="#"):
    """Check like the backend: only known keywords, with the right kinds of values, on the right types."""
    assert isinstance(node, dict), at
    assert node.keys() <= KEYWORDS, at
    assert ("type" in node) != ("anyOf" in node), at
    if "anyOf" in node:
        assert node.keys() <= {"anyOf", "title", "description", "nullable", "default", "example"}
        assert len(node["anyOf"]) > 1
        for branch in node["anyOf"]:
            check(branch, at + "/anyOf")
        return
    assert node["type"] in ("string", "number", "integer", "boolean", "object", "array"), at
    assert ("items" in node) == (node["type"] == "array"), at
    if "items" in node:
        check(node["items"], at + "/items")
    if "enum" in node:
        assert node["type"] == "string"
        assert node["enum"]
        assert all(isinstance(v, str) and v for v in node["enum"])
    assert node.get("nullable", True) is True
    if "properties" in node:
        assert node["properties"]
        for name, value in node["properties"].items():
            check(value, f"{at}/{name}")
    assert set(node.get("required", ())) <= node.get("properties", {}).keys()
    for key in ("minLength", "maxItems", "minProperties"):
        assert isinstance(node.get(key, 0), int)


def accepted(schema):
    try:
        VALIDATOR.check_schema(schema)
    except Exception:  # the meta-schema itself fails on some numbers
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(any_schema)
def test_no_schema_breaks_the_cleaner_or_gets_a_rejected_keyword_through(schema):
    assume(accepted(schema))
    before = copy.deepcopy(schema)

    check(clean_response(schema))
    parameters = clean_parameters({"type": "object", "properties": {"p": schema}, "$defs": schema.get("$defs", {})})
    if parameters is not None:
        check(parameters)
    root = clean_parameters(schema)
    if root is not None:
        check(root)
        assert root["type"] == "object"

    assert schema == before
    json.dumps(parameters, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(any_schema)
@example({"prefixItems": [{}, {"type": ["string", "number"]}]})
def test_cleaning_twice_changes_nothing(schema):
    once = clean_response(schema)

    assert clean_response(once) == once


def test_depth_has_an_end():
    schema = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}

    check(clean_response(schema))
