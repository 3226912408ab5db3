"""Counts a request's tokens with the first counter that knows the model, or estimates them within a millisecond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from proxy_core.errors import PluginFailed, Unavailable
from proxy_core.interfaces import CountedTokens, CountTokens, TokenCounter
from proxy_core.messages import ChatRequest, HostedTool, JsonObject, Native

#: Of text in any language and of code; of an image or a file, whatever its size.
_CHARS_PER_TOKEN, _PER_MEDIA = 4, 1_000
#: A longer text without a blank at its beginning is base64.
_LONGEST_WORD = 4_096
#: A body with more values than this is estimated by the first ones.
_MOST_VALUES = 20_000


def rough_tokens(body: JsonObject) -> int:
    """About how many tokens a request in any format has: an order of magnitude, without a pass over its text."""
    chars, media, left = 0, 0, list[object]([body])
    for _ in range(_MOST_VALUES):
        if not left:
            break
        value = left.pop()
        if isinstance(value, str):
            if len(value) > _LONGEST_WORD and " " not in value[:_LONGEST_WORD]:
                media += 1
            else:
                chars += len(value)
        elif isinstance(value, dict):
            chars += sum(map(len, value))
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return chars // _CHARS_PER_TOKEN + media * _PER_MEDIA


def _no_count(passed_over: str) -> Unavailable:
    """Only the operator can change this, so no client should try again."""
    installing = "The proxy's operator has to install one that counts for any model: pip install proxy-plugin-estimates"
    error = Unavailable(f"{passed_over or 'No token counter is installed.'} {installing}", code="no_token_counter")
    error.waiting_helps = False
    return error


def without_own(chat: ChatRequest) -> ChatRequest:
    """Without the tools and parts that only the client's format has, which no counter can read."""
    messages = [replace(m, parts=[part for part in m.parts if not isinstance(part, Native)]) for m in chat.messages]
    return replace(
        chat,
        messages=[message for message in messages if message.parts],
        tools=[tool for tool in chat.tools if not isinstance(tool, HostedTool)],
        tool_choice=None,
    )


class TokenCounting:
    """``counters`` are tried in their order; which ones there are is up to plugins.

    ``note`` on an inexact count says why a better counter did not count.
    """

    def __init__(self, counters: Sequence[TokenCounter]) -> None:
        self._counters = counters
        #: Two at a time: a long text takes seconds, and the thread pool is shared.
        self._limit = asyncio.Semaphore(2)

    async def count(self, request: CountTokens, failed: Callable[[PluginFailed], object]) -> CountedTokens:
        """``failed`` is called for each counter that fails; the next one counts."""
        async with self._limit:
            return await asyncio.to_thread(self._count, request, failed)

    def _count(self, request: CountTokens, failed: Callable[[PluginFailed], object]) -> CountedTokens:
        """Runs in a thread, because counters and long texts may be slow."""
        passed_over = ""
        for counter in self._counters:
            try:
                found = counter.count(request)
            except PluginFailed as error:  # it has been logged
                failed(error)
                passed_over = f"The counter {counter.name} failed."
                continue
            if found is not None and found.tokens is not None:
                source = f"{counter.name}: {found.tokenizer}" if found.tokenizer else counter.name
                note = found.note if found.exact else passed_over or found.note
                return CountedTokens(tokens=found.tokens, exact=found.exact, source=source, note=note)
            if found is not None:
                passed_over = found.note or f"The tokenizer {found.tokenizer} is not available."
        raise _no_count(passed_over)
