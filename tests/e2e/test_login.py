"""``proxy-core login`` on a terminal without a display, as over SSH."""

import asyncio
import json
import signal
import stat
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oauth_site import install, talking, typed

from proxy_core.testing import FakeOAuthServer, serving

LINK = r"\n  (http://\S+)\n"


@pytest.fixture
async def server():
    async with FakeOAuthServer() as server:
        yield server


@pytest.fixture
def variables(tmp_path, server):
    return install(tmp_path, server)


def vault(home):
    return home / "data" / "credentials" / "ex_ample"


def tokens_of(server):
    return [server.families[-1].current, *(t for t in server._access)]


async def browse(url):
    async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
        return await client.get(url)


async def log_in(home, variables, *more):
    async with talking(home, variables, "login", "ex-ample", "--yes", *more) as talk:
        page = await browse((await talk.until(LINK))[1])
        code = await talk.rest()
    return code, talk.output, page


async def test_a_browser_that_reaches_this_machine_logs_in(tmp_path, variables, server):
    code, output, page = await log_in(tmp_path, variables)
    file = vault(tmp_path) / "dev@example.com.json"

    assert (code, page.status_code) == (0, 200), output
    assert f"dev@example.com was saved in {file}" in output
    assert json.loads(file.read_text())["refresh_token"] == server.families[0].current
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
    assert not any(secret in output for secret in tokens_of(server))


async def test_the_address_a_browser_elsewhere_ended_at_is_pasted(tmp_path, variables, server):
    async with talking(tmp_path, variables, "login", "ex_ample", "--yes", "--paste") as talk:
        link = (await talk.until(LINK))[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            gone_to = (await client.get(link)).headers["location"]
        talk.type("not a code at all?x=1")
        await talk.until("Not accepted")
        talk.type(gone_to)
        code = await talk.rest()

    assert code == 0, talk.output
    assert (vault(tmp_path) / "dev@example.com.json").exists()
    assert parse_qs(urlsplit(gone_to).query)["code"][0] not in talk.output


async def test_an_invalid_pasted_code_is_explained(tmp_path, variables, server):
    async with talking(tmp_path, variables, "login", "ex_ample", "--yes", "--paste") as talk:
        await talk.until(LINK)
        talk.type("no-such-code")
        code = await talk.rest()

    assert code == 1
    assert "the login server did not accept the code; start over" in talk.output
    assert "log in again" not in talk.output


async def test_a_device_code_is_typed_in_elsewhere(tmp_path, variables, server):
    async with talking(tmp_path, variables, "login", "ex_ample", "--yes", "--device", "--name", "work") as talk:
        server.approve((await talk.until(r"Enter this code:  (\S+)"))[1])
        code = await talk.rest()

    assert code == 0, talk.output
    assert (vault(tmp_path) / "work.json").exists()


async def test_terms_and_lifecycle_are_shown_before_anything_happens(tmp_path, variables, server):
    code, output = await typed(tmp_path, variables, "login", "ex_ample", stdin="n")

    assert code == 1
    for words in ("ex_ample: limited", "A fake vendor.", "https://vendor.example/terms", "nothing is at risk"):
        assert words in output
    assert "nothing was saved" in output
    assert server.families == [] and server.requests == []


async def test_without_a_terminal_it_says_how_to_continue(tmp_path, variables):
    code, output = await typed(tmp_path, variables, "login", "ex_ample")

    assert code == 1
    assert "--yes" in output and "Traceback" not in output


async def test_logging_in_again_updates_the_existing_account(tmp_path, variables, server):
    await log_in(tmp_path, variables, "--name", "home")
    code, output, _ = await log_in(tmp_path, variables)

    assert code == 0
    assert "\nex_ample: the login home (dev@example.com) was updated" in output  # on a line of its own
    assert [f.name for f in vault(tmp_path).glob("*.json")] == ["home.json"]
    assert json.loads((vault(tmp_path) / "home.json").read_text())["refresh_token"] == server.families[1].current


async def test_another_account_under_a_taken_name_gets_its_own(tmp_path, variables, server):
    await log_in(tmp_path, variables, "--name", "home")
    server.identity = "other@example.com"
    code, output, _ = await log_in(tmp_path, variables, "--name", "home")

    assert code == 0
    assert "another account" in output
    assert sorted(f.name for f in vault(tmp_path).glob("*.json")) == ["home.json", "other@example.com.json"]


async def test_a_refusal_is_one_line(tmp_path, variables, server):
    server.denies = True
    code, output, _ = await log_in(tmp_path, variables)

    assert code == 1
    assert "the login was denied" in output and "Traceback" not in output
    assert not vault(tmp_path).exists()


async def test_ctrl_c_leaves_nothing_behind(tmp_path, variables):
    async with talking(tmp_path, variables, "login", "ex_ample", "--yes") as talk:
        await talk.until("paste the URL")
        talk.process.send_signal(signal.SIGINT)
        code = await talk.rest()

    assert code == 130
    assert "nothing was saved" in talk.output and "Traceback" not in talk.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), "is not a known provider"),
        (("ex_ample", "--name", "../x"), "is not a valid name"),
        (("ex_ample", "--nonsense"), "No such option"),
    ],
)
async def test_wrong_usage_exits_with_2(tmp_path, variables, arguments, words):
    code, output = await typed(tmp_path, variables, "login", *arguments)

    assert (code, words in output) == (2, True), output


async def test_a_running_proxy_is_notified(tmp_path, variables, server):
    async with serving(tmp_path, **variables):
        code, output, _ = await log_in(tmp_path, variables)

    assert code == 0
    assert "the running proxy applied the change" in output or "restart it to apply the change" in output


async def test_help_says_how_it_works_over_ssh(tmp_path, variables):
    (code, output), (listed, _) = await asyncio.gather(
        typed(tmp_path, variables, "login", "--help"), typed(tmp_path, variables, "--help")
    )

    assert (code, listed) == (0, 0)
    assert "SSH" in output and "--device" in output
