"""What is added to the headers of a request, and how those of a response are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy_core.messages import UpstreamRequest
from proxy_core.network.upload import SLICED_ABOVE

#: Through how many of these proxies a request has come. It names none of them.
HOP_HEADER = "x-proxy-core-hops"


def request_headers(request: UpstreamRequest, user_agent: str) -> Sequence[tuple[str, str]]:
    """Those of the request, with ours where it has none of its own."""
    headers = [("accept-encoding", "identity"), *request.headers]
    if not any(name.lower() == "user-agent" for name, _ in request.headers):
        headers.insert(0, ("user-agent", user_agent))
    if len(request.content) > SLICED_ABOVE:
        headers.append(("content-length", str(len(request.content))))
    return headers


def header_map(headers: Mapping[str, str]) -> dict[str, str]:
    """Names in lower case; the values of a repeated header are joined by commas."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        text = value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        known = found.setdefault(name := name.lower(), text)
        if known is not text:
            found[name] = f"{known}, {text}"
    return found
