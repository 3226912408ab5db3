"""From nothing to an answer: ``proxy-core init`` and ``providers``, on a terminal and on pipes."""

import asyncio
import json
import os
import re
import stat
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from oauth_site import install

from proxy_core.testing import FakeOAuthServer, FakeUpstream, run, serving
from proxy_core.testing.program import PROGRAM, environment

KEY, WRONG = "sk-canary-0123456789", "sk-wrong-0123456789"
MODELS = b'{"data": [{"id": "big"}, {"id": "small"}]}'


@pytest.fixture
async def upstream():
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def accepting(upstream):
    """An upstream that knows one key: the order of the tests' requests is fixed, so its answers are a queue."""

    def accept(*verdicts):
        for good in verdicts:
            if good:
                upstream.for_path("/models").responds(body=MODELS)
            else:
                upstream.for_path("/models").responds(401, body=b'{"error": {"message": "no"}}')
        return upstream

    return accept


@pytest.fixture
def proxy_core(tmp_path):
    """A command to its end, on pipes; no key ever shows."""

    async def call(*arguments, stdin="", **variables):
        code, output = await run(tmp_path, *arguments, stdin=stdin, **variables)
        assert KEY not in output and WRONG not in output and "Traceback" not in output, output
        return code, output

    return call


def settings(home):
    return home / "config" / "proxy-core" / "proxy-core.toml"


def stored(home):
    return sorted(path.stem for path in (home / "data" / "proxy-core" / "credentials").glob("*/*.json"))


class Terminal:
    """A command on a terminal of its own, and what that has shown."""

    def __init__(self, ours, process):
        self.ours, self.process, self.shown, self._seen = ours, process, "", 0

    async def answer(self, question, text):
        """Type ``text`` once the question is there."""
        await self.until(question)
        os.write(self.ours, text.encode())

    async def until(self, pattern):
        """The match, once it shows."""
        async with asyncio.timeout(40):
            while not (found := re.compile(pattern).search(self.shown, self._seen)):
                assert await self._more(), self.shown
        self._seen = found.end()
        return found

    async def end(self):
        async with asyncio.timeout(40):
            while await self._more():
                pass
            return await self.process.wait()

    async def _more(self):
        try:
            data = await asyncio.get_running_loop().run_in_executor(None, os.read, self.ours, 4096)
        except OSError:  # how a terminal ends
            return False
        self.shown += data.decode()
        return bool(data)


@asynccontextmanager
async def terminal(home, *arguments, **variables):
    pty = pytest.importorskip("pty")
    termios, fcntl = pytest.importorskip("termios"), pytest.importorskip("fcntl")
    ours, theirs = pty.openpty()

    def adopt():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal

    process = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        *arguments,
        cwd=home,
        env=environment(home, **variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=adopt,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)


# --- On a terminal -----------------------------------------------------------------------


async def test_a_new_user_gets_from_nothing_to_an_answer(tmp_path, accepting):
    upstream = accepting(False, True)
    async with terminal(tmp_path, "init") as user:
        await user.answer(r"dialect: ", "nobody\n")
        await user.answer(r"no provider nobody[\s\S]*dialect: ", f"{upstream.url}\n")
        await user.answer(r"name for it \[home\]: ", "\n")
        await user.answer(r"not shown.*?: ", f"{WRONG}\n\n")
        await user.answer(r"FAILED: rejected[\s\S]*API key for home.*?: ", f"{KEY}\n\n")
        await user.answer(r"home: ok: 2 models[\s\S]*as `fast`.*?: ", "bi\n")
        await user.answer(r"did you mean big[\s\S]*as `fast`.*?: ", "big\n")
        await user.answer(r"Client to set up.*?: ", "codex\n")
        code = await user.end()

    assert code == 0, user.shown
    assert KEY not in user.shown and WRONG not in user.shown
    assert "proxy-core setup codex --model fast --write" in user.shown and 'model = "fast"' in user.shown
    assert user.shown.rstrip().endswith("proxy-core serve")
    upstream.for_path("/chat/completions").streams("hel", "lo")
    async with serving(tmp_path) as program, httpx.AsyncClient(timeout=30) as http:
        key = (tmp_path / "data" / "proxy-core" / "client.key").read_text().strip()
        body = {"model": "fast", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        answer = await http.post(
            f"{program.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        )
    assert answer.status_code == 200 and "hel" in answer.text
    assert upstream.requests[-1].key == KEY


async def test_a_wrong_answer_is_asked_for_again(tmp_path, accepting):
    upstream = accepting(True)
    settings(tmp_path).parent.mkdir(parents=True)
    settings(tmp_path).write_text('[providers.taken]\nbase_url = "http://127.0.0.1:9/v1"\n')
    async with terminal(tmp_path, "init", "--client", "aider") as user:
        await user.answer(r"dialect: ", "http://[nowhere\n")
        await user.answer(r"(?i)invalid[\s\S]*dialect: ", f"{upstream.url}\n")
        await user.answer(r"name for it \[home\]: ", "My Home/1\n")
        await user.answer(r"My Home/1[\s\S]*name for it \[home\]: ", "taken\n")
        await user.answer(r"taken is configured already[\s\S]*name for it \[home\]: ", "box\n")
        await user.answer(r"not shown.*?: ", f"{KEY} {WRONG}\n\n")
        await user.answer(r"has no blanks in it[\s\S]*API key for box.*?: ", f"{KEY}\n\n")
        await user.answer(r"as `fast`.*?: ", "box/big\n")
        code = await user.end()

    assert code == 0, user.shown
    assert 'fast = ["box/big"]' in settings(tmp_path).read_text() and stored(tmp_path) == ["1"]


async def test_ctrl_c_half_way_leaves_nothing(tmp_path, upstream):
    async with terminal(tmp_path, "init", "--provider", "groq") as user:
        await user.answer(r"API key for groq.*?: ", "\x03")
        code = await user.end()

    assert (code, settings(tmp_path).exists(), stored(tmp_path)) == (130, False, []), user.shown
    assert "cancelled; nothing was saved" in user.shown


async def test_several_lines_may_be_pasted_where_one_key_is_asked_for(tmp_path):
    async with terminal(tmp_path, "credentials", "add", "groq") as user:
        await user.answer(r"API key for groq.*?: ", f"{KEY}\n{WRONG}\n\n")
        code = await user.end()

    assert code == 0, user.shown
    assert stored(tmp_path) == ["1", "2"] and KEY not in user.shown and WRONG not in user.shown


async def test_a_provider_with_a_login_is_logged_in_to(tmp_path):
    async with FakeOAuthServer() as server:
        variables = install(tmp_path, server) | {"PROXY_DATA_DIR": str(tmp_path / "data" / "proxy-core")}
        async with terminal(tmp_path, "init", "--provider", "ex_ample", "--client", "aider", **variables) as user:
            await user.answer(r"Log in to ex_ample\?.*?: ", "y\n")
            link = (await user.until(r"\n  (http://\S+)\r?\n"))[1]
            assert stored(tmp_path) == []
            async with httpx.AsyncClient(follow_redirects=True, trust_env=False, timeout=30) as browser:
                await browser.get(link)
            code = await user.end()

    assert code == 0, user.shown
    assert stored(tmp_path) == ["dev@example.com"]
    assert "[providers.ex_ample]" in settings(tmp_path).read_text() and "aider" in user.shown


# --- With flags --------------------------------------------------------------------------


def home_flags(upstream, *more):
    return ("init", "--provider", "home", "--base-url", upstream.url, "--key-file", "-", *more)


async def test_flags_say_everything_without_a_terminal(tmp_path, proxy_core, accepting):
    upstream = accepting(True)
    code, output = await proxy_core(*home_flags(upstream, "--model", "small", "--client", "claude"), stdin=f"{KEY}\n")

    assert code == 0, output
    assert "apiKeyHelper" in output and '"ANTHROPIC_MODEL": "fast"' in output
    assert 'fast = ["home/small"]' in settings(tmp_path).read_text()
    assert KEY not in settings(tmp_path).read_text()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (settings(tmp_path), settings(tmp_path).parent)}
    assert modes == {0o600, 0o700}


async def test_a_second_run_changes_nothing(tmp_path, proxy_core, accepting):
    upstream = accepting(True, True)
    await proxy_core(*home_flags(upstream, "--model", "small"), stdin=KEY)
    before = settings(tmp_path).read_bytes()
    code, output = await proxy_core("init", "--provider", "home", "--key-file", "-", stdin=KEY)

    assert code == 0, output
    assert "this key already exists: 1" in output and "has all of that already" in output
    assert (settings(tmp_path).read_bytes(), stored(tmp_path)) == (before, ["1"])


async def test_a_name_that_is_taken_stays_and_the_client_gets_the_model_it_was_set_up_for(
    tmp_path, proxy_core, accepting
):
    upstream = accepting(True, True, True)
    await proxy_core(*home_flags(upstream, "--model", "small"), stdin=KEY)
    again = ("init", "--provider", "home", "--client", "claude", "--model")
    code, output = await proxy_core(*again, "big")
    same, told = await proxy_core(*again, "small")

    assert (code, same) == (0, 0), output + told
    assert "`fast` stays what it is (home/small): clients get this model as home/big" in output
    assert '"ANTHROPIC_MODEL": "home/big"' in output and '"ANTHROPIC_MODEL": "fast"' in told
    assert "stays what it is" not in told
    assert 'fast = ["home/small"]' in settings(tmp_path).read_text()


async def test_with_several_clients_the_user_is_told_how_to_choose_one(tmp_path, proxy_core, accepting):
    upstream = accepting(True)
    clients = "".join(f'[clients.{name}]\nkey = "key-of-{name}-0123456789"\n' for name in ("desk", "laptop"))
    (tmp_path / "own.toml").write_text(clients)
    flags = ("--config", "own.toml", "--client", "claude", "--model", "small")
    code, output = await proxy_core(*home_flags(upstream, *flags), stdin=KEY)

    assert code == 0, output
    assert "proxy-core setup claude --config own.toml --client desk --model fast" in output
    assert "--client laptop" in output


async def test_what_does_not_work_is_not_saved(tmp_path, proxy_core, accepting):
    upstream = accepting(False, True, True)
    flags = {
        "rejected by the provider": home_flags(upstream),
        "no model 'huge'": home_flags(upstream, "--model", "huge"),
        "no client 'nobody'": home_flags(upstream, "--client", "nobody"),
        "cannot be reached": ("init", "--provider", "home", "--base-url", "http://127.0.0.1:9/v1", "--key-file", "-"),
        "--provider NAME": ("init",),
        "base_url: a URL begins with https:// or": ("init", "--provider", "home", "--base-url", "home.example/v1"),
        "is no preset": ("init", "--provider", "nobody", "--key-file", "-"),
        "needs a key": ("init", "--provider", "groq"),
        "printable ASCII": ("init", "--provider", "groq", "--key-file", "umlaut.txt"),
        "No such file": ("init", "--provider", "groq", "--key-file", "nowhere.txt"),
        "takes a login": ("init", "--provider", "gemini_cli"),
    }
    (tmp_path / "umlaut.txt").write_text("schlüssel")
    for words, arguments in flags.items():
        code, output = await proxy_core(*arguments, stdin=KEY)
        assert code != 0 and words in output, (arguments, output)

    assert not settings(tmp_path).exists() and stored(tmp_path) == []


async def test_an_untested_provider_is_saved_if_asked_for(tmp_path, proxy_core):
    code, output = await proxy_core(
        "init", "--provider", "groq", "--key-file", "-", "--model", "any", "--no-test", stdin=KEY
    )

    assert code == 0, output
    assert 'fast = ["groq/any"]' in settings(tmp_path).read_text() and stored(tmp_path) == ["1"]


@pytest.mark.parametrize("flags", [(), ("--no-test",)], ids=["tested", "not tested"])
@pytest.mark.parametrize("model", ["big", "home/big"])
async def test_a_model_may_be_named_as_clients_request_it(tmp_path, proxy_core, accepting, model, flags):
    upstream = accepting(True)
    code, output = await proxy_core(*home_flags(upstream, "--model", model, *flags), stdin=KEY)

    assert code == 0, output
    assert 'fast = ["home/big"]' in settings(tmp_path).read_text()


async def test_a_model_whose_own_name_begins_like_that_keeps_it(tmp_path, proxy_core, upstream):
    upstream.for_path("/models").responds(body=b'{"data": [{"id": "home/auto"}, {"id": "auto"}]}')
    code, output = await proxy_core(*home_flags(upstream, "--model", "home/auto"), stdin=KEY)

    assert code == 0, output
    assert 'fast = ["home/home/auto"]' in settings(tmp_path).read_text()


async def test_settings_that_are_there_stay_with_their_comments(tmp_path, proxy_core, accepting):
    upstream = accepting(True)
    own = '# mine\n[models] # names\nbig = "groq/x"   # why\n\n[server]\nport = 8123\n'
    file = tmp_path / "own.toml"
    file.write_text(own)
    file.chmod(0o640)
    code, output = await proxy_core(*home_flags(upstream, "--model", "small", "--config", "own.toml"), stdin=KEY)

    assert code == 0, output
    lines = file.read_text().splitlines()
    assert [line for line in lines if line in own.splitlines()] == [*own.splitlines(), ""]
    assert 'fast = ["home/small"]' in lines and stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "proxy-core serve --config own.toml" in output


async def test_settings_that_cannot_be_changed_are_left_and_the_lines_printed(tmp_path, proxy_core, accepting):
    upstream = accepting(True, True, True)
    broken, inline = tmp_path / "broken.toml", tmp_path / "inline.toml"
    broken.write_text("[models\n")
    inline.write_text("providers = {}\n")
    (tmp_path / "file").touch()
    outcomes = [
        await proxy_core(*home_flags(upstream, "--config", where), stdin=KEY)
        for where in ("broken.toml", "inline.toml", "file/proxy-core.toml")
    ]

    assert all(code != 0 for code, _ in outcomes), outcomes
    assert all("[providers.home]" in output for _, output in outcomes[1:]), outcomes
    assert (broken.read_text(), inline.read_text(), stored(tmp_path)) == ("[models\n", "providers = {}\n", [])


async def test_a_file_that_merely_lies_in_the_working_directory_gets_no_address(tmp_path, proxy_core, accepting):
    upstream = accepting(True)
    (tmp_path / "proxy-core.toml").touch()
    refused, told = await proxy_core(*home_flags(upstream), stdin=KEY)
    code, output = await proxy_core(*home_flags(upstream, "--config", "proxy-core.toml"), stdin=KEY)

    assert refused == 2 and "--config" in told
    assert code == 0, output
    async with serving(tmp_path, "--config", "proxy-core.toml") as program:
        assert "home" in program.output


# --- providers ---------------------------------------------------------------------------


async def listed(proxy_core, **variables):
    code, output = await proxy_core("providers", "--json", **variables)
    assert code == 0, output
    return {row["provider"]: row for row in json.loads(output)}


async def test_providers_say_what_they_need_and_what_is_missing(proxy_core):
    found = await listed(proxy_core, GROQ_API_KEY_1=KEY, GROQ_API_KEY_2=WRONG)
    code, table = await proxy_core("providers", GROQ_API_KEY=KEY)

    assert found["groq"] | {"needs": "GROQ_API_KEY", "has": "2 keys", "missing": ""} == found["groq"]
    assert found["openrouter"] | {"needs": "OPENROUTER_API_KEY", "missing": "a key"} == found["openrouter"]
    assert found["ollama"]["needs"] == "proxy-core providers add ollama"
    assert found["ollama"]["missing"] == "a line in the settings"
    assert found["gemini_cli"]["needs"].startswith("proxy-core login gemini_cli")
    assert code == 0 and table.splitlines()[1].startswith("groq")


async def test_two_names_of_one_provider_are_one_line(proxy_core):
    _, output = await proxy_core("providers")
    _, with_key = await proxy_core("providers", TOGETHER_AI_API_KEY=KEY)

    [line] = [line for line in output.splitlines() if line.startswith("together")]
    assert "TOGETHER_API_KEY, or TOGETHER_AI_API_KEY as together_ai" in line
    [line] = [line for line in with_key.splitlines() if line.startswith("together")]
    assert line.startswith("together_ai ") and line.endswith("1 key")


async def test_a_provider_is_added_with_its_keys(tmp_path, proxy_core, accepting):
    upstream = accepting(True, True)
    add = ("providers", "add", "home", "--base-url", upstream.url, "--key-file", "keys.txt")
    (tmp_path / "keys.txt").write_text(f"# two of them\n{KEY}\n\n{WRONG}\n{KEY}\n")
    code, output = await proxy_core(*add)
    again, told = await proxy_core(*add)

    assert code == 0, output
    assert "home key 2: ok" in output and stored(tmp_path) == ["1", "2"]
    assert again == 1 and "configured already" in told
    assert (await listed(proxy_core))["home"]["has"] == "2 keys"


async def test_a_provider_without_a_key_is_told_what_it_still_needs(tmp_path, proxy_core):
    code, output = await proxy_core("providers", "add", "groq")
    local, _ = await proxy_core("providers", "add", "ollama", "--no-test")
    wrong, told = await proxy_core("providers", "add", "home", "--base-url", "file:///etc", "--no-test")

    assert (code, local, wrong) == (0, 0, 2), told
    assert "still needs GROQ_API_KEY" in output and "base_url" in told
    assert (await listed(proxy_core))["ollama"]["missing"] == ""


async def test_of_several_lines_each_is_a_key_and_a_wrong_one_stops_all(tmp_path, proxy_core):
    bad, words = await proxy_core("credentials", "add", "groq", stdin=f"{KEY}\nschlüssel\n")
    before = stored(tmp_path)
    code, output = await proxy_core("credentials", "add", "groq", "--name", "team", stdin=f"{KEY}\n{WRONG}\n{KEY}")

    assert (bad, before) == (1, []) and "line 2" in words
    assert code == 0, output
    assert stored(tmp_path) == ["team", "team-2"]


async def test_a_byte_order_mark_is_no_part_of_a_comment_or_key(tmp_path, proxy_core):
    codes = [
        await proxy_core("credentials", "add", "groq", stdin=f"\ufeff# mine\n{KEY}\n"),
        await proxy_core("credentials", "add", "groq", stdin=f"\ufeff{WRONG}\n"),
    ]

    assert [code for code, _ in codes] == [0, 0], codes
    assert stored(tmp_path) == ["1", "2"]


async def test_an_unknown_provider_is_answered_with_all_that_take_keys(proxy_core):
    code, words = await proxy_core("credentials", "add", "nobody", stdin=KEY)

    assert code == 2
    assert all(f" {name}," in words for name in ("groq", "openrouter", "mistral")), words


async def test_lines_with_more_than_a_key_are_understood_or_refused(tmp_path, proxy_core):
    code, words = await proxy_core("credentials", "add", "groq", stdin=f"{KEY} {WRONG}\n")
    taken, output = await proxy_core("credentials", "add", "groq", stdin=f"# mine\nexport GROQ_API_KEY='{KEY}'\n\n")

    assert code == 1 and "a provider's key has no blanks in it" in words and "nothing was saved" in words
    assert taken == 0, output
    [file] = (tmp_path / "data" / "proxy-core" / "credentials" / "groq").glob("*.json")
    assert json.loads(file.read_text())["access_token"] == KEY
