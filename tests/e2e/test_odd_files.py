"""Files that are not what they should be: each is refused by name, without a traceback, or understood."""

import asyncio
import json
import os
import time

import pytest
from click.testing import CliRunner
from test_ways_in import MODELS, cli, in_ms, qwens, replace_file, site

from proxy_core.testing.credentials import Vault
from proxy_plugin_accounts.check import test_command as check_command
from proxy_plugin_gemini_cli.files import FILES
from proxy_plugin_qwen_code.files import QWEN_FILE

__all__ = ["site"]

MAKES = {"gemini_cli": cli, "qwen_code": qwens}


def changed(**fields):
    return lambda whole: json.dumps({**whole, **fields}).encode()


REFUSED = {
    "nothing": (lambda whole: b"", "it is empty"),
    "not JSON": (lambda whole: b"\x80\x81 binary", "it is not JSON"),
    "a list": (lambda whole: b"[]", "it is not a JSON object"),
    "nested": (lambda whole: b'{"a":' * 100_000, "it is nested too deeply"),
    "huge": (lambda whole: json.dumps({**whole, "more": "x" * 1_000_000}).encode(), "it is larger than 1000000 bytes"),
    "a broken access token": (
        lambda w: changed(access_token=w["access_token"] + "\nb")(w),
        "access_token has characters",
    ),
    "a broken refresh token": (
        lambda w: changed(refresh_token=w["refresh_token"] + "\u00e4")(w),
        "refresh_token has characters",
    ),
    "half a character": (
        lambda w: changed(access_token=w["access_token"] + "\ud800")(w),
        "access_token has characters",
    ),
}
READ = {
    "a byte order mark": lambda whole: b"\xef\xbb\xbf" + json.dumps(whole).encode(),
    "UTF-16": lambda whole: json.dumps(whole).encode("utf-16"),
    "seconds": lambda whole: changed(expiry_date=int(time.time() + 3600))(whole),
    "seconds as text": lambda whole: changed(expiry_date=str(int(time.time() + 3600)))(whole),
    "ISO 8601": lambda whole: changed(expiry_date="2099-01-01T00:00:00+01:00")(whole),
    "blanks around the tokens": lambda whole: json.dumps(
        {k: f" {v}\n" if k.endswith("s_token") else v for k, v in whole.items()}
    ).encode(),
    "no id token": changed(id_token=None),
}


def put(site, provider, content):
    path = site.file(provider, "one", MAKES[provider])
    path.write_bytes(content(json.loads(path.read_text())))
    return path


@pytest.mark.parametrize("how", ["--link", "--copy"])
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("provider", MAKES)
async def test_a_file_that_cannot_be_used_is_refused_by_name(site, provider, name, how, caplog):
    content, words = REFUSED[name]
    path = put(site, provider, content)

    output = await site.imports(provider, path, how, code=1)

    assert words in output and str(path) in output
    assert "Traceback" not in output + caplog.text
    assert not list((site.home / "data").rglob("credentials/*/*.json"))


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("provider", MAKES)
async def test_what_people_and_editors_do_to_a_file_is_understood(site, make_proxy, provider, name):
    path = put(site, provider, READ[name])

    await site.imports(provider, path, "--link")
    await site.start(make_proxy)

    await site.chats(provider)
    assert len(site.servers[provider].accepted) == 0


@pytest.mark.parametrize("ends", ["", None, 0, -5, "soon", "nan", 1e30, 10**30, [], {}, True])
@pytest.mark.parametrize("provider", MAKES)
async def test_an_expiry_that_says_nothing_means_a_refresh_before_use(site, make_proxy, provider, ends):
    path = put(site, provider, changed(expiry_date=ends))

    await site.imports(provider, path, "--copy")
    await site.start(make_proxy)

    await site.chats(provider)
    assert len(site.servers[provider].accepted) == 1


def a_pipe(path):
    os.mkfifo(path)


def a_dangling_link(path):
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_pipe, "is not a regular file"),
        (a_dangling_link, "is a link to a file that does not exist"),
        (lambda path: path.mkdir(), "contains nothing to import"),
        (lambda path: None, "does not exist"),
    ],
)
async def test_what_is_no_file_is_called_what_it_is(site, make, words):
    make(site.home / "odd.json")

    done = await site.imports("gemini_cli", site.home / "odd.json", code=None)

    assert words in done and "Traceback" not in done


@pytest.mark.parametrize("provider", MAKES)
async def test_a_linked_file_that_turns_into_a_pipe_stops_nothing(site, make_proxy, provider):
    path = put(site, provider, changed())
    whole = path.read_text()
    await site.imports(provider, path, "--link")
    await site.start(make_proxy)
    await site.chats(provider)

    path.unlink()
    os.mkfifo(path)
    await site.proxy.reload(timeouts={"idle_s": 500})
    (told,) = site.why(provider)
    answer = await site.proxy.chat(f"{provider}/{'coder-model' if provider == 'qwen_code' else 'gemini-2.5-pro'}", "hi")
    replace_file(path, whole)

    assert "it is not a regular file" in told["why"]
    assert answer.status == 200
    await site.chats(provider)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
async def test_the_file_of_another_user_stays_theirs(site, make_proxy):
    path = put(site, "qwen_code", changed(expiry_date=in_ms(-1)))
    os.chown(path, 1234, 1234)

    await site.imports("qwen_code", path, "--link")
    await site.start(make_proxy)
    await site.chats("qwen_code")

    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)
    assert len(site.servers["qwen_code"].accepted) == 1


async def test_a_token_that_was_broken_in_the_vault_is_named_there(site, make_proxy):
    await site.imports("qwen_code", put(site, "qwen_code", changed()), "--copy")
    (kept,) = (site.home / "data" / "credentials").rglob("*.json")
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "access_token": "a\nb"}))

    (problem,) = Vault(site.home / "data" / "credentials", [*FILES, QWEN_FILE]).load("qwen_code").problems

    assert "access_token has characters that no header can hold" in str(problem)


@pytest.mark.parametrize("provider", MAKES)
async def test_a_linked_file_that_is_gone_for_good_does_not_keep_requests_waiting(site, make_proxy, provider):
    path = put(site, provider, changed())
    whole = path.read_text()
    await site.imports(provider, path, "--link")
    tables = site.tables
    tables["routing"]["max_wait_s"] = 30
    site.proxy = await make_proxy(tables, clock=site.clock)
    await site.chats(provider)
    path.unlink()
    await site.expire()
    async with asyncio.timeout(10):
        while site.why(provider)[0]["state"] == "usable":
            await asyncio.sleep(0.02)
    site.clock.ahead_s += 10

    async with asyncio.timeout(20):
        answer = await site.proxy.chat(MODELS[provider], "hi")
    assert answer.status == 503
    assert "No such file" in answer.error["message"] and "log in with the program" in answer.error["message"]
    assert site.why(provider)[0]["why"] in answer.error["message"]

    replace_file(path, json.dumps({**json.loads(whole), "expiry_date": 1}))
    await site.chats(provider)


async def test_the_start_names_what_cannot_be_read(site, make_proxy, caplog):
    linked = put(site, "qwen_code", changed())
    await site.imports("qwen_code", linked, "--link")
    linked.write_bytes(b"[]")
    damaged = site.home / "data" / "credentials" / "gemini_cli" / "mine.json"
    damaged.parent.mkdir(mode=0o700)
    damaged.write_text("{")
    await site.start(make_proxy)

    assert f"{damaged}: it is not JSON" in caplog.text
    assert f"{linked}: is not a file of 'qwen_code': it is not a JSON object" in caplog.text


@pytest.mark.parametrize("provider", MAKES)
async def test_a_token_that_ended_before_its_first_use_is_refreshed(site, make_proxy, provider):
    """Also before anything else is known of the account."""
    await site.imports(provider, put(site, provider, changed()), "--copy")
    site.servers[provider]._access.clear()
    await site.start(make_proxy)

    await site.chats(provider)
    assert len(site.servers[provider].accepted) == 1


@pytest.mark.parametrize("provider", MAKES)
async def test_testing_a_login_refreshes_a_token_that_ended_before_its_time(site, provider):
    await site.imports(provider, put(site, provider, changed()), "--copy")
    server = site.servers[provider]
    server._access.clear()
    typed = [provider, "--config", str(site.home / "proxy-core.toml")]
    environ = {"PROXY_DATA_DIR": str(site.home / "data"), "HOME": str(site.home)}

    done = await asyncio.to_thread(CliRunner().invoke, check_command, typed, env=environ)

    assert done.exit_code == 0, done.output
    assert len(server.accepted) == 1
