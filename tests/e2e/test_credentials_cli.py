"""``proxy-core credentials``: every command, on pipes, with nothing secret in what it prints."""

import asyncio
import json
import os
import stat
import time

import pytest
from oauth_site import install, talking, typed

from proxy_core.testing import FakeOAuthServer, FakeUpstream, serving
from proxy_core.testing.program import PROGRAM, environment


@pytest.fixture
async def server():
    async with FakeOAuthServer() as server:
        yield server


@pytest.fixture
async def upstream():
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def variables(tmp_path, server, upstream):
    return install(tmp_path, server) | {"HOUSE_API_BASE": upstream.url}


@pytest.fixture
def run(tmp_path, variables):
    """A command to its end; what it prints holds no secret that was given to it or to the vault."""

    async def run(*arguments, stdin="", shows=False, **more):
        code, output = await typed(tmp_path, variables | more, "credentials", *arguments, stdin=stdin)
        hidden = [v for n, v in more.items() if n.endswith("KEY") or "TOKEN" in n]
        hidden += [stdin] if stdin and stdin not in ("y", "n") else []
        for file in (tmp_path / "data" / "credentials").rglob("*.json"):
            fields = json.loads(file.read_text()) if file.stem != "damaged" else {}
            hidden += [fields[n] for n in ("access_token", "refresh_token") if fields.get(n)]
        assert shows or not any(secret in output for secret in hidden), output
        assert "Traceback" not in output, output
        return code, output

    return run


@pytest.fixture
def cli_file(tmp_path, server):
    """Another program's login, for ``cli_file(identity)``."""

    def make(identity="dev@example.com", name="creds.json"):
        tokens = server.issue(identity)
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        fields = {
            "access_token": tokens.access_token.get_secret_value(),
            "refresh_token": tokens.refresh_token.get_secret_value(),
            "expiry_date": int((time.time() + 3600) * 1000),
            "email": identity,
            "theirs": 1,
        }
        file.write_text(json.dumps(fields))
        return file

    return make


def vault(home, provider="ex_ample"):
    return home / "data" / "credentials" / provider


async def listed(run, **more):
    code, output = await run("list", "--json", **more)
    assert code == 0, output
    return {(c["provider"], c["name"]): c for c in json.loads(output)}


# --- Keys --------------------------------------------------------------------------------


async def test_a_key_comes_from_the_standard_input_and_is_private(run, tmp_path):
    code, output = await run("add", "house", "--name", "main", "--tier", "pro", stdin="sk-canary-0123456789")
    file = vault(tmp_path, "house") / "main.json"
    again, told = await run("add", "house", stdin="sk-canary-0123456789")
    found = await listed(run, HOUSE_API_KEY_7="sk-canary-0123456789")

    assert code == 0, output
    assert json.loads(file.read_text())["access_token"] == "sk-canary-0123456789"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert again == 1 and "already exists: main" in told
    assert (
        found["house", "main"] | {"kind": "api_key", "tier": "pro", "state": "ok", "source": "file"}
        == found["house", "main"]
    )
    assert found["house", "HOUSE_API_KEY_7"]["same_as"] == "main"
    assert found["house", "HOUSE_API_KEY_7"]["id"] == found["house", "main"]["id"]


async def test_an_invalid_key_or_provider_is_refused(run):
    (empty, told), (login, words), (nobody, _), (dots, _) = await asyncio.gather(
        run("add", "house"), run("add", "ex_ample"), run("add", "nobody"), run("add", "house", "--name", "../x")
    )

    assert (empty, login, nobody, dots) == (1, 2, 2, 2)
    assert "no key was given" in told and "proxy-core login ex_ample" in words


async def test_a_key_is_tested_with_a_models_request(run, upstream):
    await run("add", "house", "--name", "main", stdin="sk-canary-0123456789")
    upstream.for_path("/models").responds(body=b'{"data": [{"id": "a"}, {"id": "b"}]}')
    good = await run("test", "house")
    upstream.for_path("/models").queue.clear()
    upstream.for_path("/models").responds(401, body=b'{"error": {"message": "bad sk-canary-0123456789"}}')
    bad = await run("test", "house", "main")

    assert good == (0, "house main: ok: 2 models\n")
    assert bad[0] == 1 and "rejected by the provider (status 401)" in bad[1]
    assert upstream.requests[0].key == "sk-canary-0123456789"


# --- Logins ------------------------------------------------------------------------------


async def test_a_login_is_disabled_enabled_and_removed(run, tmp_path, cli_file):
    await run("import", "ex_ample", str(cli_file()), "--copy", "--name", "work")
    disabled = await run("disable", "ex-ample", "work")
    state = (await listed(run))["ex_ample", "work"]["state"]
    enabled = await run("enable", "ex_ample", "work")
    kept = await run("remove", "ex_ample", "work", stdin="n")
    there = (vault(tmp_path) / "work.json").exists()
    removed = await run("remove", "ex_ample", "work", "--yes")

    assert (disabled[0], enabled[0], kept[0], removed[0]) == (0, 0, 1, 0)
    assert (state, there) == ("disabled", True)
    assert [f.name for f in vault(tmp_path).glob("*.json")] == []


async def test_what_settings_set_cannot_be_removed_here(run):
    code, output = await run("remove", "house", "HOUSE_API_KEY", "--yes", HOUSE_API_KEY="sk-canary-0123456789")
    missing, told = await run("remove", "house", "nothing", "--yes")

    assert (code, missing) == (1, 2)
    assert "set by environment variable HOUSE_API_KEY" in output and "has no credential" in told


async def test_a_login_is_tried_and_refreshed_first_if_it_has_ended(run, tmp_path, cli_file, server):
    file = cli_file()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"expiry_date": 1000}))
    await run("import", "ex_ample", str(file), "--copy", "--name", "work")
    before = server.families[0].current
    good = await run("test", "ex_ample")
    server.revoke_all()
    bad = await run("test", "ex_ample")

    assert good == (0, "ex_ample work: ok: dev@example.com\n")
    assert server.accepted == [before]
    assert json.loads((vault(tmp_path) / "work.json").read_text())["refresh_token"] == server.families[0].current
    assert bad[0] == 1 and "log in again" in bad[1]


async def test_a_login_from_variables_is_listed_tried_and_its_new_token_kept(run, tmp_path, server):
    tokens = server.issue()
    given = {"EXAMPLE_1_REFRESH_TOKEN": tokens.refresh_token.get_secret_value(), "EXAMPLE_1_EMAIL": "dev@example.com"}
    code, _ = await run("test", "ex_ample", **given)
    found = (await listed(run, **given))["ex_ample", "env-1"]
    kept = json.loads((vault(tmp_path) / "environment" / "env-1.json").read_text())

    assert code == 0
    assert (found["source"], found["place"], found["state"]) == ("environment", "EXAMPLE_1_*", "ok")
    assert kept["refresh_token"] == server.families[0].current != given["EXAMPLE_1_REFRESH_TOKEN"]


async def test_states_are_reported_with_their_reasons(run, tmp_path, cli_file):
    await run("import", "ex_ample", str(cli_file()), "--copy", "--name", "work")
    file = vault(tmp_path) / "work.json"
    fields = json.loads(file.read_text())
    ended = fields | {"expires_at": "2020-01-01T00:00:00+00:00"}
    (vault(tmp_path) / "ended.json").write_text(json.dumps(ended))
    (vault(tmp_path) / "stuck.json").write_text(json.dumps(ended | {"refresh_token": None, "identity": "c@d"}))
    (vault(tmp_path) / "damaged.json").write_text("{")
    (vault(tmp_path) / "strange.json").write_text(json.dumps(fields | {"kind": "gone_oauth", "identity": "a@b"}))
    found = await listed(run)
    _, table = await run("list", "ex_ample")

    states = {name: c["state"] for (_, name), c in found.items()}
    assert states == {
        "work": "ok",
        "ended": "expired",
        "stuck": "expired",
        "damaged": "damaged",
        "strange": "unknown kind",
    }
    assert found["ex_ample", "work"]["same_as"] == "ended"
    assert "it is not JSON" in table and "same account as ended" in table


# --- Import and export -------------------------------------------------------------------


async def test_a_login_is_linked_from_its_usual_place(run, tmp_path, cli_file):
    file = cli_file(name=".example/oauth_creds.json")
    code, output = await run("import", "ex_ample")
    again, told = await run("import", "ex_ample", "--copy")
    found = (await listed(run))["ex_ample", "dev@example.com"]
    await run("remove", "ex_ample", "dev@example.com", "--yes")

    assert code == 0 and "is linked to" in output
    assert again == 1 and "already this account, linked to this file" in told
    assert (found["source"], found["place"]) == ("link", str(file))
    assert json.loads(file.read_text())["theirs"] == 1


async def test_a_copy_of_the_same_account_replaces_its_tokens(run, tmp_path, cli_file):
    await run("import", "ex_ample", str(cli_file()), "--copy")
    new = cli_file(name="new.json")
    code, output = await run("import", "ex_ample", str(new), "--copy")
    linked, told = await run("import", "ex_ample", str(new), "--link")

    assert code == 0 and "now has the tokens from" in output and "two programs" in output
    assert len(list(vault(tmp_path).glob("*.json"))) == 1
    assert linked == 1 and "remove ex_ample dev@example.com" in told


async def test_files_that_cannot_be_imported_say_why_in_a_line(run, tmp_path):
    files = {"encrypted.bin": b"\x8f\x02\xff\x00" * 20, "other.json": b'{"token": 1}', "list.json": b"[1]"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    results = await asyncio.gather(*(run("import", "ex_ample", str(tmp_path / name)) for name in files))
    nothing, looked = await run("import", "ex_ample")
    (missing, _), (form, _) = await asyncio.gather(
        run("import", "ex_ample", "/nowhere"), run("import", "ex_ample", "--format", "other")
    )

    assert [code for code, _ in results] == [1, 1, 1]
    assert all("is not a file of 'example_cli'" in output and output.count("\n") == 1 for _, output in results)
    assert nothing == 1 and ".example/oauth_creds.json" in looked
    assert (missing, form) == (2, 2)


async def test_several_files_and_a_folder_are_imported_at_once_each_account_once(run, tmp_path, cli_file):
    one = cli_file("a@example.com", "one.json")
    for name in ("b", "c", "a"):
        cli_file(f"{name}@example.com", f"more/{name}.json")
    (tmp_path / "more" / "notes.json").write_text("[1]")
    code, output = await run("import", "ex_ample", str(one), str(tmp_path / "more"), "--copy")
    missing, told = await run("import", "ex_ample", str(tmp_path / "nowhere"), str(cli_file("d@example.com", "d.json")))
    named, _ = await run("import", "ex_ample", str(one), str(one), "--name", "x")

    assert code == 0
    assert "a.json is the same account as" in output and "skipped: " in output and "notes.json" in output
    assert missing == 1 and "nowhere does not exist" in told and "d@example.com" in told
    assert named == 2
    assert sorted(path.stem for path in vault(tmp_path).glob("*.json")) == [f"{n}@example.com" for n in "abcd"]


async def test_export_covers_every_provider_and_logins_from_variables(run, tmp_path, cli_file, server):
    await run("import", "ex_ample", str(cli_file("a@example.com")), "--copy")
    await run("add", "house", stdin="house-key")
    tokens = server.issue("b@example.com")
    login = {
        "EXAMPLE_7_ACCESS_TOKEN": tokens.access_token.get_secret_value(),
        "EXAMPLE_7_REFRESH_TOKEN": tokens.refresh_token.get_secret_value(),
    }
    folder = tmp_path / "out"
    code, output = await run("export", "--folder", str(folder), **login)
    combined = (folder / "all_providers_combined.env").read_text()

    assert code == 0 and "wrote 3 credentials" in output
    assert "HOUSE_API_KEY_1=house-key" in combined
    assert f"EXAMPLE_2_REFRESH_TOKEN={tokens.refresh_token.get_secret_value()}" in combined
    assert sorted(path.name for path in folder.iterdir()) == [
        "all_providers_combined.env",
        "ex_ample_a@example.com.env",
        "ex_ample_env-7.env",
        "house_1.env",
    ]
    assert (folder / "ex_ample_env-7.env").read_text() in combined
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


async def test_export_writes_what_the_environment_reads(run, tmp_path, cli_file, server):
    await run("import", "ex_ample", str(cli_file()), "--copy")
    target = tmp_path / "out.env"
    code, output = await run("export", "ex_ample", "--env", str(target))
    mode, text = stat.S_IMODE(target.stat().st_mode), target.read_text()
    exists, _ = await run("export", "ex_ample", "--env", str(target))
    piped, shown = await run("export", "ex_ample", shows=True)
    given = dict(line.split("=", 1) for line in text.splitlines())

    assert (code, mode, exists, piped) == (0, 0o600, 2, 0)
    assert "must not be used in two places" in output
    assert given["EXAMPLE_1_REFRESH_TOKEN"] == server.families[0].current
    assert given["EXAMPLE_1_EMAIL"] == "dev@example.com"
    assert text in shown


async def on_a_terminal(home, variables, *arguments, typing=b""):
    """A command on a terminal of its own: its exit code, and everything that terminal showed."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), "credentials", *arguments),
        cwd=home,
        env=environment(home, **variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, loop = b"", asyncio.get_running_loop()
    try:
        while data := await loop.run_in_executor(None, os.read, ours, 4096):
            shown += data
            if typing and b": " in shown:
                await asyncio.sleep(0.1)
                os.write(ours, typing)
                typing = b""
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    return await process.wait(), shown.decode()


async def test_a_key_typed_on_a_terminal_does_not_show(tmp_path, variables):
    key = b"sk-canary-0123456789"
    code, shown = await on_a_terminal(tmp_path, variables, "add", "house", "--name", "main", typing=key + b"\n\n")

    assert code == 0, shown
    assert "(not shown)" in shown and key.decode() not in shown
    assert json.loads((vault(tmp_path, "house") / "main.json").read_text())["access_token"] == key.decode()


async def test_secrets_are_not_put_on_a_terminal(run, tmp_path, variables, cli_file, server):
    await run("import", "ex_ample", str(cli_file()), "--copy")
    code, shown = await on_a_terminal(tmp_path, variables, "export", "ex_ample")

    assert code == 2
    assert "secrets would be shown" in shown and server.families[0].current not in shown


async def test_nothing_there_says_how_to_begin(run, tmp_path, variables):
    code, output = await run("list")
    async with talking(tmp_path, variables, "credentials", "--help") as talk:
        helped = await talk.end()

    assert (code, helped) == (0, 0)
    assert "proxy-core login PROVIDER" in output
    for name in ("add", "disable", "enable", "export", "import", "list", "remove", "test"):
        assert name in talk.output


@pytest.mark.parametrize(
    "stdin", ["gsk-canary-0123456789\ngsk-canary-\x01other-456789\n", "\n \n", "gsk-canary\x00-0123456"]
)
async def test_what_is_no_key_is_not_saved(tmp_path, stdin):
    code, output = await typed(tmp_path, {}, "credentials", "add", "groq", stdin=stdin)

    assert (code, "nothing was saved" in output, "gsk-canary" in output) == (1, True, False)


@pytest.mark.parametrize("spelling", ["groq", "Groq"])
async def test_a_stored_key_is_all_that_a_known_vendor_needs(tmp_path, spelling):
    code, output = await typed(tmp_path, {}, "credentials", "add", spelling, stdin="gsk-canary-0123456789")
    assert code == 0, output

    code, output = await typed(tmp_path, {}, "credentials", "list", "groq")
    assert code == 0, output
    assert "groq" in output and "gsk-canary" not in output
    async with serving(tmp_path, PROXY_API_KEY="a-client-key-0123456789") as program, asyncio.timeout(20):
        while "keys of groq are sent to https://api.groq.com" not in program.output:
            await asyncio.sleep(0.01)
