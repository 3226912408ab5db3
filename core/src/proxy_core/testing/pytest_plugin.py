"""The pytest plugin: fixtures, the conformance kit's table at the end, and its badge. It imports only pytest.

``upstream`` is a scripted upstream, ``make_proxy`` starts proxies, ``proxy`` is one in front of ``upstream``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from proxy_core.testing.proxy import RunningProxy
    from proxy_core.testing.upstream import FakeUpstream

    MakeProxy = Callable[..., Awaitable[RunningProxy]]

#: The property of a test's report that names its kind, class, group and case, for the table at the end.
PROPERTY = "proxy_core_conformance"
_WORDS = {"passed": "passed", "failed": "failed", "error": "failed", "xfailed": "deviates", "skipped": "not applicable"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proxy-core", "conformance of proxy-core plugins")
    told = "write a badge of the conformance tests to this file, in the format of shields.io's endpoint badges"
    group.addoption("--conformance-badge", metavar="FILE", help=told)
    parser.addini("conformance_badge", told, default="")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One row for each class and group of cases, what failed and what was missing, and the badge."""
    found = _outcomes(terminalreporter.stats)
    if not found:
        return
    terminalreporter.section("conformance with proxy-core")
    for line in _table(found):
        terminalreporter.write_line(line)
    file = config.getoption("--conformance-badge") or config.getini("conformance_badge")
    if file:
        path = config.rootpath / file
        path.write_text(json.dumps(badge(found), indent=2) + "\n")
        terminalreporter.write_line(f"badge: {file}")


class Result(NamedTuple):
    """One case of one class: its result, and a reason."""

    group: str
    case: str
    word: str
    reason: str


#: ``{(kind, class): {node id: result}}``
Outcomes = Mapping[tuple[str, str], Mapping[str, Result]]


def _outcomes(stats: Mapping[str, list[Any]]) -> Outcomes:
    found: dict[tuple[str, str], dict[str, Result]] = defaultdict(dict)
    for outcome, word in _WORDS.items():
        for report in stats.get(outcome, ()):
            for name, told in getattr(report, "user_properties", ()):
                if name == PROPERTY:
                    kind, subject, group, case, *advice = told
                    reason = ", ".join(advice) or _reason(report, word)
                    found[kind, subject][report.nodeid] = Result(group, case, word, reason)
    return found


def _reason(report: Any, word: str) -> str:
    if word == "not applicable" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "")).removeprefix("reason: ")


def _table(found: Outcomes) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "cases", "passed", "failed", "deviates", "not applicable")]
    told = []
    for (kind, subject), cases in sorted(found.items()):
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for result in cases.values():
            groups[result.group][result.word] += 1
        told += _remarks(subject, cases.values())
        total = sum(groups.values(), Counter[str]())
        rows.append(_row(f"{subject} ({kind})", total))
        rows += [_row(f"  {group}", groups[group]) for group in sorted(groups) if len(groups) > 1]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *told]


def _remarks(subject: str, results: Iterable[Result]) -> list[str]:
    """What did not pass, and why; each once."""
    remarkable = [result for result in results if result.word != "passed" or result.reason]
    told = [f"{subject}: {r.case}: {r.word}" + (f" ({r.reason})" if r.reason else "") for r in remarkable]
    return list(dict.fromkeys(told))


def _row(name: str, counted: Counter[str]) -> tuple[str, ...]:
    return (name, str(counted.total()), *(str(counted[word] or "") for word in dict.fromkeys(_WORDS.values())))


def badge(found: Outcomes) -> dict[str, Any]:
    """As shields.io's endpoint badges have it. What does not apply is not counted."""
    total = Counter(result.word for results in found.values() for result in results.values())
    asked = total.total() - total["not applicable"]
    colour = "red" if total["failed"] else "yellowgreen" if total["deviates"] else "brightgreen"
    message = f"{total['passed']} of {asked} cases"
    return {"schemaVersion": 1, "label": "proxy-core conformance", "message": message, "color": colour}


@pytest.fixture
def anyio_backend() -> str:
    """The proxy runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A scripted upstream."""
    from proxy_core.testing.upstream import FakeUpstream

    async with FakeUpstream() as running:
        yield running


@pytest.fixture
async def make_proxy(tmp_path: Path) -> AsyncIterator[MakeProxy]:
    """Start proxies with your own settings: ``await make_proxy({"models": ...}, modules=[...])``."""
    from proxy_core.testing.proxy import run_proxy

    async with AsyncExitStack() as running:

        async def make(settings: dict[str, Any], **more: Any) -> RunningProxy:
            return await running.enter_async_context(run_proxy(settings, folder=tmp_path, **more))

        yield make


@pytest.fixture
async def proxy(upstream: FakeUpstream, make_proxy: MakeProxy) -> RunningProxy:
    """A proxy with one provider, ``demo``, that has the keys ``key-a`` and ``key-b`` for ``upstream``.

    It does not wait long for a cooldown to end. It needs the plugin openai_compat.
    """
    provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
    return await make_proxy({"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 1}})
