"""Each server serves a whole proxy; ``tests/e2e/test_http_servers.py`` holds every promise against all of them."""

import sys

import pytest

import proxy_plugin_http_servers as plugin

LIBRARIES = {"uvicorn": ("uvicorn", "httptools"), "granian": ("granian",)}


def names():
    return [server.name for server in plugin.proxy_http_servers(ctx=None)]


@pytest.mark.parametrize("name", [pytest.param("uvicorn"), pytest.param("granian", marks=pytest.mark.slow)])
async def test_it_serves_answers_and_streams(make_proxy, upstream, name):
    for library in LIBRARIES[name]:
        pytest.importorskip(library)
    proxy = await make_proxy(
        {
            "providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}},
            "server": {"http_server": name},
        }
    )

    answer, stream = await proxy.chat("demo/small", "hi"), await proxy.chat("demo/small", "hi", stream=True)

    assert (answer.status, answer.text) == (200, "hello")
    assert (stream.text, stream.done) == ("hello", True)


@pytest.mark.parametrize(("name", "library"), [(n, library) for n, found in LIBRARIES.items() for library in found])
def test_a_server_without_its_library_is_not_offered(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)

    assert name not in names()


def test_no_server_is_imported_before_it_is_chosen(monkeypatch):
    for library in ("uvicorn", "httptools", "granian"):
        pytest.importorskip(library)
        monkeypatch.delitem(sys.modules, library)

    assert names() == ["uvicorn", "granian"]
    assert {"uvicorn", "httptools", "granian"}.isdisjoint(sys.modules)
