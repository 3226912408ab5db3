"""Values, bytes and headers in which something is wrong, for the tests that read them."""

import json

ODD = [
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "x",
    "\ud83d",
    "\u2028",
    [],
    {},
    [[]],
    {"": {}},
    "x" * 300,
    [None],
    {"a": []},
    float("nan"),
    float("inf"),
    1.5,
    "-1",
    "data:image/png;base64,####",
    "https://x.example/\u0000",
    {"type": "text"},
    [0, "x", None, {}],
]
FRAGMENTS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"\xff",
    b"\x00",
    b"\n\n",
    b"\r",
    b"data:",
    b"1e999",
    b"NaN",
    b"-",
    b"event: x\n",
    b"null",
    b"\xf0\x9f",
    b"\xe2\x80\xa8",
    b"%",
    b"#",
    b"=",
    b"'''",
    b"[[a]]",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 5000,
]


def broken_value(random, value):
    """``value`` with something in it replaced, removed or added."""
    if random.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return random.choice(ODD)
    if isinstance(value, list):
        at = random.randrange(len(value))
        return [*value[:at], broken_value(random, value[at]), *value[at + random.choice([0, 1, 1, 2]) :]]
    key = random.choice(list(value))
    changed = {**value, key: broken_value(random, value[key])}
    if random.random() < 0.2:
        del changed[random.choice(list(changed))]
    return changed


def broken_bytes(random, data):
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        data = data[:at] + random.choice([*FRAGMENTS, random.randbytes(3)]) + data[at + random.choice([0, 0, 1, 9]) :]
    return data


def broken_json(random, value, *, of_bytes=0.4):
    """JSON of ``value`` with something wrong in the value or, often, in the bytes."""
    data = json.dumps(broken_value(random, value)).encode()
    return broken_bytes(random, data) if random.random() < of_bytes else data


def broken_text(random, text):
    return broken_bytes(random, text.encode()).decode("utf-8", "replace")


def pieces(random, data):
    """``data`` in one to four pieces."""
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 3)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
