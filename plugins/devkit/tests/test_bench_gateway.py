"""``proxy-core bench URL``: a gateway that runs already."""

import json
import socket

import pytest

from proxy_core.testing import run

pytestmark = pytest.mark.slow


@pytest.fixture
def port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_a_gateway_is_measured_beside_its_upstream(tmp_path, make_proxy, port):
    provider = {"base_url": f"http://127.0.0.1:{port}/v1", "api_keys": ["bench-key"]}
    proxy = await make_proxy({"providers": {"bench": provider}})

    options = ("--key", proxy.key, "--port", str(port), "--seconds", "0.5", "--json", "-")
    code, output = await run(tmp_path, "bench", proxy.url, *options)

    rows = json.loads(output)
    assert code == 0
    assert [row["load"] for row in rows] == ["plain requests", "streams of 100 chunks", "one connection"]
    assert all(row[who]["count"] > 0 and row[who]["p99_ms"] > 0 for row in rows for who in ("gateway", "upstream"))


async def test_a_gateway_without_the_upstream_is_told_what_it_needs(tmp_path, make_proxy, port):
    proxy = await make_proxy({})

    code, output = await run(tmp_path, "bench", proxy.url, "--key", proxy.key, "--port", str(port), "--seconds", "0.1")

    assert code == 1
    assert f'base_url = "http://127.0.0.1:{port}/v1"' in output
    assert "Traceback" not in output


async def test_an_address_with_tls_is_refused(tmp_path):
    code, output = await run(tmp_path, "bench", "https://gateway.example/v1")

    assert code == 2
    assert "no http:// address" in output


async def test_a_gateway_that_is_not_there_is_named(tmp_path, port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))  # it does not listen
        url = f"http://127.0.0.1:{other.getsockname()[1]}/v1"
        code, output = await run(tmp_path, "bench", url, "--port", str(port), "--seconds", "0.1")

    assert code == 1
    assert f"Error: {url}: ConnectionRefusedError" in output
