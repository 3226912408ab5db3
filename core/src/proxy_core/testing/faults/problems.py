"""What may be wrong with what a client saw: each function returns it in words, or ``None``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from proxy_core.testing.faults.seen import Seen


def answered(seen: Sequence[Seen], text: str) -> str | None:
    """Every request has the whole good response, once."""
    return next((found for each in seen if (found := _answered(each, text))), None)


def _answered(seen: Seen, text: str) -> str | None:
    if seen.status != 200 or seen.failed:
        return f"no response: {seen}"
    if seen.text != text:
        return f"the text is {seen.text!r}, not {text!r}"
    if not seen.complete:
        return f"the response has no end marker: {seen}"
    return None if seen.finishes == 1 else f"{seen.finishes} finish reasons instead of one"


def counted(seen: Sequence[Seen], text: str) -> str | None:
    """The response says how many tokens it took."""
    if found := answered(seen, text):
        return found
    usage = seen[0].usage or {}
    if usage.get("prompt_tokens") and usage.get("completion_tokens"):
        return None
    return f"the usage is {usage or 'missing'}: without it, neither limits nor costs are right"


def told(seen: Sequence[Seen], text: str) -> str | None:
    """The client can tell that the response failed, and that its own request was not the cause."""
    for each in seen:
        if each.status is None:
            return f"the client got nothing: {each}"
        if not each.failed:
            return f"a failed response looks like a good one: {each}"
        if 400 <= each.status < 500 and each.status != 429:
            return f"the client is blamed for the upstream's failure: {each}"
    return None


def cut_off(seen: Sequence[Seen], text: str) -> str | None:
    """What came before the failure was relayed, the failure is visible, and nothing was sent twice."""
    for each in seen:
        if each.complete or not each.failed:
            return f"a response that broke off looks complete: {each}"
        if each.status != 200:
            return f"content had arrived, but the client got none: {each}"
        if not text.startswith(each.text):
            return f"the text {each.text!r} is not the beginning of {text!r}"
        if len(each.keys) > 1:
            return f"after its first content the request was sent again: {each}"
    return None


def not_hidden(seen: Sequence[Seen], text: str) -> str | None:
    """A part that cannot be read is an error, or is relayed as it is; it is not left out."""
    return next((f"the bad chunk was left out without a word: {each}" for each in seen if not each.failed), None)


def rested(seen: Sequence[Seen], text: str) -> str | None:
    """Every request is served by another credential, and the limited one is left alone."""
    if found := answered(seen, text):
        return found
    limited, *later = [key for each in seen for key in each.keys]
    again = later.count(limited)
    return f"the limited credential was used {again} more times at once" if again else None


def limited(seen: Sequence[Seen], text: str) -> str | None:
    """The client gets a 429 that says when to come back."""
    for each in seen:
        if each.status != 429:
            return f"every credential is limited, but the client sees {each}"
        if not 0 < _number(each.headers.get("retry-after", "")) <= 3600:
            return f"a 429 whose Retry-After is {each.headers.get('retry-after')!r}"
    return None


def refused(seen: Sequence[Seen], text: str) -> str | None:
    """The client gets an error, but never a 401: its own key is in order."""
    for each in seen:
        if each.status is None or each.status < 400:
            return f"no credential was accepted, but the client sees {each}"
        if each.status == 401:
            return "the upstream's 401 reached the client, whose own key is in order"
    return None


def mistake(seen: Sequence[Seen], text: str) -> str | None:
    """The client's own mistake comes back as one, and is not tried with every credential."""
    for each in seen:
        if each.status is None or not 400 <= each.status < 500:
            return f"the client's mistake became {each}"
        if len(each.keys) > 1:
            return f"a mistake was sent {len(each.keys)} times"
    return None


def abandoned(seen: Sequence[Seen], text: str) -> str | None:
    """When the client leaves, the gateway lets go of the upstream, and does not try again."""
    for each in seen:
        if each.left_alone_s is None:
            return "the client left, but the upstream's request went on"
        if len(each.keys) > 1:
            return f"the request was sent {len(each.keys)} times for a client that had left"
    return None


def both_calls(seen: Sequence[Seen], text: str) -> str | None:
    """Two tool calls with ids of their own and whole arguments."""
    for each in seen:
        if len(each.calls) != 2:
            return f"{len(each.calls)} tool calls instead of 2: {each}"
        ids, _, arguments = zip(*each.calls, strict=True)
        if len(set(ids)) != 2 or not all(ids):
            return f"the ids of the tool calls are {ids}"
        for text_ in arguments:
            try:
                json.loads(text_)
            except ValueError:
                return f"the arguments of a tool call are not JSON: {text_!r}"
        if each.finishes != 1 or not each.complete:
            return f"{each.finishes} finish reasons: {each}"
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
