"""The catalogue: every fault, why it is in it, and what the client must see."""

from __future__ import annotations

from proxy_core.testing.faults import scripts
from proxy_core.testing.faults.fault import Fault
from proxy_core.testing.faults.limits import LIMITS
from proxy_core.testing.faults.problems import (
    abandoned,
    answered,
    both_calls,
    counted,
    cut_off,
    mistake,
    not_hidden,
    refused,
    rested,
    told,
)
from proxy_core.testing.faults.scripts import SLOW_S
from proxy_core.testing.steps import cut, pause, stall
from proxy_core.testing.upstream import Script

_CREDENTIALS = [
    Fault(
        name="401: one credential",
        group="credentials",
        why="A revoked key must not fail requests while others are in order, nor be tried again for each of them.",
        must="Another credential answers; the refused one is not used again at once.",
        script=scripts.status(401, message="Incorrect API key provided."),
        problem=rested,
        hits="credential",
        requests=2,
    ),
    Fault(
        name="401: every credential",
        group="credentials",
        why="A client that gets a 401 asks its user for another key, although its own is in order.",
        must="An error that is not a 401.",
        script=scripts.status(401, message="Incorrect API key provided."),
        problem=refused,
        hits="every",
    ),
    Fault(
        name="403: one credential",
        group="credentials",
        why="An account may be suspended or not allowed in a region, while others are not.",
        must="Another credential answers; the refused one is not used again at once.",
        script=scripts.status(403, message="Your account has been suspended."),
        problem=rested,
        hits="credential",
        requests=2,
    ),
]

_OUTAGES = [
    *(
        Fault(
            name=f"{status} once",
            group="outages",
            why=why,
            must="A retry answers.",
            script=script,
            problem=answered,
        )
        for status, script, why in (
            (500, scripts.status(500), "Upstreams fail now and then; one retry is mostly enough."),
            (502, scripts.page(502), "A load balancer's page is no JSON: it must not break the reading of the error."),
            (503, scripts.status(503, {"retry-after": "1"}), "An upstream that starts again says so for a moment."),
        )
    ),
    Fault(
        name="500 always",
        group="outages",
        why="When nothing helps, the client must learn that the upstream is at fault, not the client.",
        must="A status of 5xx.",
        script=scripts.status(500),
        problem=told,
        hits="every",
    ),
    Fault(
        name="connection reset",
        group="outages",
        why="Upstreams drop connections of a pool when they restart.",
        must="A retry answers.",
        script=lambda scene: Script(reset=True),
        problem=answered,
    ),
    Fault(
        name="empty 200",
        group="outages",
        why="An empty body is no response; as one, it ends an agent's work without a word.",
        must="An error.",
        script=lambda scene: Script(200, scene.kind, (b"",)),
        problem=told,
        hits="every",
    ),
    Fault(
        name="page in a 200",
        group="outages",
        why="Proxies and login pages answer with HTML and status 200.",
        must="An error.",
        script=scripts.page(200),
        problem=told,
        hits="every",
    ),
    Fault(
        name="error in a 200",
        group="outages",
        why="Some upstreams report an error in a response with status 200; relayed, it looks like an answer.",
        must="An error.",
        script=scripts.failure,
        problem=told,
        hits="every",
        needs="failure",
    ),
    Fault(
        name="half a response",
        group="outages",
        why="A whole response that breaks off can be asked for again: the client has received nothing yet.",
        must="A retry answers.",
        script=scripts.half,
        problem=answered,
        modes=(False,),
    ),
]

_MISTAKES = [
    Fault(
        name="400",
        group="mistakes",
        why="The same request fails with every credential; to try them all costs time and their quotas.",
        must="The 4xx, after one attempt.",
        script=scripts.status(400, type="invalid_request_error", message="max_tokens is too large", param="max_tokens"),
        problem=mistake,
        hits="every",
    ),
]

_STREAMS = [
    Fault(
        name="cut before content",
        group="streams",
        why="Before the first content, another attempt costs the client nothing.",
        must="A retry answers.",
        script=scripts.streamed(scripts.steps(b"", cut())),
        problem=answered,
        modes=(True,),
    ),
    Fault(
        name="cut after content",
        group="streams",
        why="A stream that ends early must not look complete, and content must not come twice.",
        must="The content so far, then an error; no end marker, no second attempt.",
        script=scripts.streamed(scripts.up_to_content, scripts.steps(cut())),
        problem=cut_off,
        modes=(True,),
    ),
    Fault(
        name="no end marker",
        group="streams",
        why="A load balancer that restarts ends a stream properly, in its middle.",
        must="The content so far, then an error; no end marker, no second attempt.",
        script=scripts.streamed(scripts.up_to_content),
        problem=cut_off,
        modes=(True,),
    ),
    Fault(
        name="silence before content",
        group="streams",
        why="An upstream that accepts a request and never answers must not hold its client for ever.",
        must="An error, or another attempt's answer.",
        script=scripts.streamed(scripts.steps(stall())),
        problem=told,
        hits="every",
    ),
    Fault(
        name="silence after content",
        group="streams",
        why="The same in the middle of a response.",
        must="The content so far, then an error; no end marker, no second attempt.",
        script=scripts.streamed(scripts.up_to_content, scripts.steps(stall())),
        problem=cut_off,
        modes=(True,),
    ),
    Fault(
        name="bad chunk",
        group="streams",
        why="Skipped, it is text that is missing without a word.",
        must="An error after the content so far, or the bad chunk itself.",
        script=lambda scene: Script(
            200, scene.kind, [*scene.wire.broken_off, scene.wire.garbage, *scene.wire.pieces[scene.wire.committed :]]
        ),
        problem=not_hidden,
        modes=(True,),
    ),
    Fault(
        name="error after content",
        group="streams",
        why="Upstreams report an overload in the middle of a stream, as an event of its own.",
        must="The content so far, then an error; no end marker, no second attempt.",
        script=scripts.failure_later,
        problem=cut_off,
        modes=(True,),
        needs="failure",
    ),
    Fault(
        name="slow first event",
        group="streams",
        why="Reasoning models think before they speak; impatience would make every such request fail.",
        must="The whole response.",
        script=lambda scene: Script(
            200, scene.kind, [pause(SLOW_S), scene.wire.stream if scene.stream else scene.wire.plain]
        ),
        problem=answered,
        hits="every",
    ),
]

_FORMATS = [
    Fault(
        name="a good response",
        group="formats",
        why="Nothing is wrong: text, one finish and an end marker, whether the client streams or not.",
        must="The whole response.",
        script=scripts.good,
        problem=answered,
        hits="every",
    ),
    Fault(
        name="usage",
        group="formats",
        why="Limits, quotas and costs are computed from it.",
        must="The tokens of request and response.",
        script=scripts.good,
        problem=counted,
        hits="every",
    ),
    Fault(
        name="one byte at a time",
        group="formats",
        why="The network splits a response anywhere, in the middle of a line or a field.",
        must="The whole response, as if it had come at once.",
        script=scripts.bytewise,
        problem=answered,
        hits="every",
    ),
    Fault(
        name="split UTF-8",
        group="formats",
        why="A character has up to four bytes; decoded by reads instead of by lines, it becomes a question mark.",
        must="The whole response, as if it had come at once.",
        script=scripts.bytewise,
        problem=answered,
        hits="every",
        needs="accents",
    ),
    Fault(
        name="line ends of two bytes",
        group="formats",
        why="Servers on .NET and some gateways end lines with CR LF.",
        must="The whole response.",
        script=scripts.two_byte_line_ends,
        problem=answered,
        hits="every",
        modes=(True,),
    ),
    Fault(
        name="comments and empty lines",
        group="formats",
        why="They keep connections alive, and are no content.",
        must="The whole response.",
        script=scripts.with_comments,
        problem=answered,
        hits="every",
        modes=(True,),
    ),
    Fault(
        name="parallel tool calls",
        group="formats",
        why="Pieces of several calls alternate; mixed up, an agent runs a command with another one's arguments.",
        must="Two calls with ids of their own and whole arguments.",
        script=lambda scene: Script(200, scene.kind, (scene.wire.calls,)),
        problem=both_calls,
        hits="every",
        modes=(True,),
        needs="calls",
    ),
]

_CLIENTS = [
    Fault(
        name="the client leaves before the response",
        group="clients",
        why="Its owner pressed Ctrl+C; the upstream would go on, and bill.",
        must="The upstream's request ends within seconds, and is not repeated.",
        script=scripts.streamed(scripts.steps(stall())),
        problem=abandoned,
        hits="every",
        leaves="sent",
    ),
    Fault(
        name="the client leaves in the middle",
        group="clients",
        why="The same after the first content.",
        must="The upstream's request ends within seconds, and is not repeated.",
        script=scripts.streamed(scripts.up_to_content, scripts.steps(stall())),
        problem=abandoned,
        hits="every",
        modes=(True,),
        leaves="content",
    ),
]

#: Every fault. Names are unique.
FAULTS = (*_FORMATS, *_STREAMS, *LIMITS, *_CREDENTIALS, *_OUTAGES, *_MISTAKES, *_CLIENTS)
