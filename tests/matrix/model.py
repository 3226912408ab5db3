"""What the scripted model answers, as a function of the request alone, so that any client can ask in any order."""

from __future__ import annotations

from typing import Any

from tests.matrix.upstreams import Reply

from proxy_core.testing import SeenRequest

#: A PNG of one pixel, as data.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = {"weather": "Tells the weather.", "clock": "Tells the time."}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"favourite_colour": {"type": "string"}},
    "required": ["favourite_colour"],
    "additionalProperties": False,
}
#: What the client's tools say, by the city that they are asked about.
RESULTS = {"Oslo": "rain-in-oslo", "Bergen": "noon-in-bergen", "Tromso": "snow-in-tromso"}

HELLO, TOOL, LOOK, SHAPE, REFUSE, BREAK, WAIT = "say hello;use tools;look;in shape;refuse;break down;wait".split(";")


def decide(request: SeenRequest) -> Reply:
    body = request.body.decode()
    if REFUSE in body:
        return Reply(refuses=True)
    if BREAK in body:
        return Reply(text=("hel",), ends="broken")
    if WAIT in body:
        return Reply(text=("hel",), ends="never")
    if LOOK in body:
        seen = PIXEL in body or PIXEL.replace("+", "-").replace("/", "_") in body  # Google's clients write it for URLs
        return Reply(text=("an image",) if seen else ("nothing",))
    if SHAPE in body:
        return Reply(text=('{"favourite_colour":', ' "blue"}') if "favourite_colour" in body else ("no shape",))
    if TOOL in body:
        return _in_turn(body)
    return Reply(text=("hel", "lo"))


def _in_turn(body: str) -> Reply:
    """Two calls in parallel; after both results one more; after that the answer."""
    if RESULTS["Tromso"] in body:
        return Reply(text=("all ", "known"))
    if RESULTS["Oslo"] in body and RESULTS["Bergen"] in body:
        return Reply(calls=[("weather", {"city": "Tromso"})])
    return Reply(text=("Let me see.",), calls=[("weather", {"city": "Oslo"}), ("clock", {"city": "Bergen"})])
