"""``proxy-core faults``: what it says of a good gateway, of a bare relay, and of one that is not set up for it."""

import json
import socket

import httpx
import pytest

from proxy_core.testing import run
from proxy_core.testing.faults import FAULTS
from proxy_core.testing.proxy import CLIENT_KEY
from proxy_plugin_devkit.testing.faults.command import KEYS, report
from proxy_plugin_devkit.testing.faults.play import FaultUpstream, Gateway, Player, in_order

QUICK = [fault for fault in in_order(FAULTS) if not fault.name.startswith(("silence", "slow"))]


async def played(url, upstream, faults, key=CLIENT_KEY):
    gateway = Gateway(url=url, key=key, model="faults/small", patience_s=20)
    async with httpx.AsyncClient() as http:
        player = Player(gateway, upstream, http)
        return [await player.play(fault, stream=stream) for fault in faults for stream in fault.modes]


def by_name(results):
    return {(result.name, result.stream): result.problem for result in results}


async def test_a_bare_relay_fails_what_a_gateway_is_for():
    """A client that asks the upstream itself: nothing is retried, and nothing is hidden."""
    async with FaultUpstream() as upstream:
        results = await played(upstream.url, upstream, QUICK, key=KEYS[0])

    found = by_name(results)
    assert found["a good response", True] is None
    assert found["cut after content", True] is None
    assert found["the client leaves before the response", True] is None  # although the head has come
    assert found["400", False] is None
    assert "no response: status 429" in found["429: Retry-After in seconds", True]
    assert "reached the client" in found["401: every credential", False]
    assert "no response" in found["500 once", True]
    assert "looks complete" in found["no end marker", True]
    text = report(results)
    assert "429: no hint" in text
    assert text.splitlines()[-1].endswith("as they must be")


@pytest.mark.slow
async def test_every_fault_ends_as_it_must_with_this_proxy(tmp_path):
    code, output = await run(tmp_path, "faults", "--json", "--only", "formats", "--only", "limits", "--only", "outages")

    results = json.loads(output)
    assert [result for result in results if result["problem"]] == []
    assert code == 0
    assert {result["group"] for result in results} == {"formats", "limits", "outages"}


@pytest.mark.slow
async def test_a_running_gateway_is_tried_by_its_url(tmp_path, make_proxy):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    provider = {"base_url": f"http://127.0.0.1:{port}/v1", "api_keys": KEYS}
    proxy = await make_proxy({"providers": {"faults": provider}})

    command = ("faults", proxy.url, "--key", proxy.key, "--port", str(port), "--only", "credential", "--only", "cut")
    code, output = await run(tmp_path, *command)

    assert code == 0, output
    assert "403: one credential" in output
    assert "not played" in output.splitlines()[-2], "every key is limited by then"


@pytest.mark.slow
async def test_a_gateway_that_does_not_recover_is_a_finding_and_the_rest_is_reported(tmp_path, make_proxy):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    provider = {"base_url": f"http://127.0.0.1:{port}/v1", "api_keys": KEYS[:1]}  # a revoked one rests for long
    proxy = await make_proxy({"providers": {"faults": provider}})

    command = ("faults", proxy.url, "--key", proxy.key, "--port", str(port), "--only", "401: one", "--only", "a good")
    code, output = await run(tmp_path, *command, "--patience", "2", "--json")

    results = json.loads(output)
    assert code == 1
    assert [result["played"] for result in results if result["name"] == "a good response"] == [True, True]
    assert any("it does not recover" in (result["problem"] or "") for result in results)


@pytest.mark.slow
async def test_a_gateway_with_another_upstream_is_told_what_it_needs(tmp_path, proxy):
    code, output = await run(tmp_path, "faults", proxy.url, "--key", proxy.key, "--port", "0")

    assert code == 1
    assert "did not ask the upstream here" in output
    assert "[providers.faults]" in output


async def test_every_fault_is_listed_with_its_reason(tmp_path):
    from click.testing import CliRunner

    from proxy_plugin_devkit.testing.faults.command import command

    done = CliRunner().invoke(command, ["--list"])

    assert all(fault.name in done.output and fault.why in done.output for fault in FAULTS)
