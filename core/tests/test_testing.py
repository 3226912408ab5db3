"""The testing kit: what its upstream accepts, and what a failed assertion shows."""

import subprocess
import sys

import pytest

from proxy_core import SettingsError, ndjson
from proxy_core.testing import pause, plugin_context


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-perch"])
async def test_scripts_for_a_key_are_found_by_the_header_that_has_it(upstream, proxy, header):
    if header == "x-perch":
        upstream.key_header = header
    upstream.for_key("key-1").responds(429)
    upstream.for_key("key-2").responds()
    prefix = "Bearer " if header == "authorization" else ""

    answers = [
        await proxy.client.post(upstream.url + "/say", headers={header: prefix + key}) for key in ("key-1", "key-2")
    ]

    assert [answer.status_code for answer in answers] == [429, 200]
    assert upstream.keys_seen == ["key-1", "key-2"]
    assert upstream.last.key == "key-2"


async def test_an_upstream_sends_json_lines_one_by_one(upstream, proxy):
    upstream.lines({"say": "hel"}, pause(0.01), {"say": "lo"}, b'{"half": ')

    async with proxy.client.stream("POST", upstream.url + "/say") as response:
        pieces = [piece async for piece in response.aiter_raw()]

    assert response.headers["content-type"] == ndjson.CONTENT_TYPE
    assert pieces[0] == b'{"say": "hel"}\n'
    assert b"".join(pieces) == b'{"say": "hel"}\n{"say": "lo"}\n{"half": '


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_failed_assertion_shows_the_text_of_the_error(proxy, upstream, stream):
    upstream.responds(400, {"error": {"message": "The temperature is too high.", "code": "too_hot"}})

    answer = await proxy.chat("demo/small", "hi", stream=stream)

    assert repr(answer) == "<Answer 400 too_hot: The temperature is too high.>"
    with pytest.raises(AssertionError, match="The temperature is too high"):
        assert answer.text == "hello"


async def test_an_answer_without_an_error_shows_how_its_body_begins(proxy, upstream):
    upstream.streams("hello")

    answer = await proxy.chat("demo/small", "hi", stream=True)
    page = await proxy.get("/nothing-here")

    assert repr(answer).startswith("<Answer 200 'data: {")
    assert len(repr(answer)) < 400
    assert "404" in repr(page)


def test_a_settings_error_is_one_text_or_several(tmp_path):
    assert SettingsError("parrot.voice: too loud").problems == ("parrot.voice: too loud",)
    assert str(SettingsError(["one", "two"])) == "one\ntwo"


def test_a_base_url_has_no_slash_at_its_end(tmp_path):
    settings = {"providers": {"parrot": {"base_url": "http://127.0.0.1:1/v1/"}}}
    ctx = plugin_context("parrot", settings, folder=tmp_path, environ={"MY_BIRD_API_BASE": "http://127.0.0.1:2"})

    assert ctx.base_url() == ctx.base_url("parrot", required=True) == "http://127.0.0.1:1/v1"
    assert ctx.base_url("my-bird") == "http://127.0.0.1:2"
    assert ctx.base_url("another") == ""


def test_a_missing_base_url_is_an_error_that_says_where_to_set_it(tmp_path):
    with pytest.raises(SettingsError, match=r"providers\.my-bird\.base_url is required: .*MY_BIRD_API_BASE"):
        plugin_context("my-bird", folder=tmp_path).base_url(required=True)


def test_without_pytest_the_kit_says_what_installs_it():
    code = "import sys; sys.modules['pytest'] = None; from proxy_core.testing import FakeUpstream"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert "pip install 'proxy-core[testing]'" in done.stderr
