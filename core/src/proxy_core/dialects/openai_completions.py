"""The wire format ``openai_completions``: the legacy ``POST /v1/completions``.

Relayed to upstreams that have it. Over a chat upstream one text prompt becomes one user
message; what chat cannot do (several prompts, token arrays, ``suffix``, ``best_of``,
``logprobs``) is refused by name. Reasoning and tools do not exist here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

from proxy_core import sse
from proxy_core.dialects.common import (
    check_stream,
    json_bytes,
    optional_float,
    optional_int,
    optional_str,
    require_model,
    wrong_type,
)
from proxy_core.dialects.model_name import finish_whole
from proxy_core.dialects.openai_chat.errors import encode_error, stream_error, whole_failure
from proxy_core.dialects.openai_chat.response_decode import OpenAIChatDecoder
from proxy_core.dialects.openai_chat.response_encode import HEARTBEAT
from proxy_core.dialects.openai_chat.usage import encode_usage, usage_in
from proxy_core.dialects.openai_chat.usage_tap import OpenAIUsageTap
from proxy_core.errors import BadRequest, UpstreamBroken
from proxy_core.interfaces import Dialect, ProxyRequest, ResponseContext
from proxy_core.messages import (
    ChatEvent,
    ChatRequest,
    Failed,
    Finish,
    FinishReason,
    JsonObject,
    Message,
    Sampling,
    Text,
    TextDelta,
    Usage,
    UsageReport,
)

NAME = "openai_completions"
DEFAULT_PROMPT = "<|endoftext|>"
DEFAULT_MAX_TOKENS = 16
_NOT_OVER_CHAT = ("suffix", "best_of", "logprobs")


def check(body: JsonObject) -> None:
    require_model(body)
    check_stream(body)
    if not isinstance(body.get("prompt"), str | list | None):
        raise wrong_type("prompt", "a string, an array of strings, or arrays of tokens")


def context(request: ProxyRequest) -> ResponseContext:
    body = request.body
    prompt, n = body.get("prompt"), body.get("n")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return ResponseContext(
        id=f"cmpl-{request.id}",
        model=request.model,
        stream=request.stream,
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        created=int(time.time()),
        expected_choices=prompts * (n if isinstance(n, int) and n > 0 else 1),
    )


def decode(body: JsonObject) -> ChatRequest:
    """One prompt as a conversation. Raises ``BadRequest`` naming a field that chat cannot represent."""
    prompt = body.get("prompt", DEFAULT_PROMPT)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise BadRequest("This model takes one text 'prompt' per request.", param="prompt", code="unsupported_value")
    for name in _NOT_OVER_CHAT:
        if body.get(name) not in (None, 0, 1, False, ""):
            raise BadRequest(f"{name!r} is not available for this model.", param=name, code="unsupported_parameter")
    if body.get("echo"):
        raise BadRequest("'echo' is not available for this model.", param="echo", code="unsupported_parameter")
    limit, stop = optional_int(body, "max_tokens"), body.get("stop")
    return ChatRequest(
        model=require_model(body),
        messages=[Message(role="user", parts=[Text(text=prompt)])],
        dialect=NAME,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        sampling=Sampling(
            max_tokens=limit if limit is not None else DEFAULT_MAX_TOKENS,
            temperature=optional_float(body, "temperature"),
            top_p=optional_float(body, "top_p"),
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            seed=optional_int(body, "seed"),
            presence_penalty=optional_float(body, "presence_penalty"),
            frequency_penalty=optional_float(body, "frequency_penalty"),
            logit_bias=body.get("logit_bias"),
            n=optional_int(body, "n"),
        ),
        user=optional_str(body, "user"),
    )


class CompletionsDecoder(OpenAIChatDecoder):
    """Reads a native completions response, if a filter must see its text."""

    what = "completion"

    def _choice(self, choice: JsonObject, member: str) -> Iterator[ChatEvent]:
        """A choice is one of chat, but for its text. Its log probabilities have another form, and are left out."""
        said = {"index": choice.get("index"), "finish_reason": choice.get("finish_reason")}
        return super()._choice({**said, member: {"content": choice.get("text")}}, member)


class CompletionsEncoder:
    """Writes ``text_completion`` objects; a stream uses the same object as a plain response."""

    def __init__(self, context: ResponseContext) -> None:
        self._context = context
        self._texts: dict[int, str] = {}
        self._reasons: dict[int, FinishReason] = {}
        self._usage: Usage | None = None

    def feed(self, events: Sequence[ChatEvent]) -> bytes:
        out = []
        for event in events:
            match event:
                case TextDelta():
                    self._texts[event.choice] = self._texts.get(event.choice, "") + event.text
                    out.append(self._chunk(event.choice, event.text, None))
                case Finish():
                    self._texts.setdefault(event.choice, "")
                    self._reasons[event.choice] = event.reason
                case UsageReport():
                    self._usage = event.usage
                case Failed():
                    raise UpstreamBroken(event.message)
                case _:  # reasoning and tools do not exist in this format
                    pass
        return b"".join(out) if self._context.stream else b""

    def close(self) -> bytes:
        self._texts = self._texts or {0: ""}
        ends = {index: self._word(index) for index in sorted(self._texts)}
        if not self._context.stream:
            choices = [self._choice(i, self._texts[i], word) for i, word in ends.items()]
            usage = {"usage": encode_usage(self._usage)} if self._usage else {}
            return json_bytes({**self._head(), "choices": choices, **usage})
        out = [self._chunk(index, "", word) for index, word in ends.items()]
        if self._context.include_usage and self._usage is not None:
            usage = {"usage": encode_usage(self._usage)}
            out.append(sse.encode(json_bytes({**self._head(), "choices": [], **usage})))
        return b"".join([*out, sse.DONE])

    def _word(self, index: int) -> str:
        reason = self._reasons.get(index, "stop")
        return reason if reason in ("length", "content_filter") else "stop"

    def _head(self) -> JsonObject:
        c = self._context
        return {"id": c.id, "object": "text_completion", "created": c.created, "model": c.model}

    def _choice(self, index: int, text: str, word: str | None) -> JsonObject:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": word}

    def _chunk(self, index: int, text: str, word: str | None) -> bytes:
        return sse.encode(json_bytes({**self._head(), "choices": [self._choice(index, text, word)]}))


#: What the chat format calls otherwise.
_NAMES = {"messages": "prompt", "max_completion_tokens": "max_tokens"}

DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=("/v1/completions", "/completions"),
    check=check,
    context=context,
    decode=decode,
    decoder=CompletionsDecoder,
    encoder=CompletionsEncoder,
    usage_tap=OpenAIUsageTap,
    encode_error=partial(encode_error, names=_NAMES),
    stream_error=partial(stream_error, names=_NAMES),
    whole_usage=usage_in,
    whole_failure=whole_failure,
    finish_whole=finish_whole,
    heartbeat=HEARTBEAT,
    base_path="/v1",
    required=["model"],
    reference="https://platform.openai.com/docs/api-reference/completions/create",
)
