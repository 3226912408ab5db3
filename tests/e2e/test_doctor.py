"""``proxy-core doctor``: each thing it looks for, planted."""

import asyncio
import json
import os
import stat

import pytest
from oauth_site import install, typed

from proxy_core.testing import FakeOAuthServer, FakeUpstream

SECRET = "canary-0123456789"
#: Whenever the test runs, a file of this time is a new one.
LATER = 4_000_000_000


@pytest.fixture
def tmp_path(home):
    """A short one: with a long path the sockets are elsewhere."""
    return home


@pytest.fixture
async def server():
    async with FakeOAuthServer() as server:
        yield server


@pytest.fixture
def variables(tmp_path, server):
    return install(tmp_path, server)


@pytest.fixture
def doctor(tmp_path, variables):
    async def doctor(*arguments, **more):
        """Its exit code, and its findings by level."""
        code, output = await typed(tmp_path, variables | more, "doctor", "--json", *arguments)
        assert SECRET not in output and "Traceback" not in output, output
        found = json.loads(output)["findings"]
        told = {
            level: [f"{f['area']}: {f['what']}; {f['do']}" for f in found if f["level"] == level] for level in LEVELS
        }
        return code, told

    return doctor


LEVELS = ("problem", "note", "fixed")


def has(lines, *words):
    return any(all(word in line for word in words) for line in lines)


def put(home, name, **fields):
    folder = home / "data" / "credentials" / "ex_ample"
    for part in (folder.parent.parent, folder.parent, folder):
        part.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{name}.json"
    stored = {"version": 1, "kind": "example_oauth", "access_token": SECRET, "refresh_token": f"{SECRET}-{name}"}
    file.write_text(json.dumps(stored | fields))
    file.chmod(0o600)
    return file


async def test_a_fresh_installation_needs_a_provider_and_nothing_else(doctor, tmp_path):
    code, told = await doctor()
    ready, nothing = await doctor(HOUSE_API_BASE="http://127.0.0.1:9/v1")

    assert (code, len(told["problem"])) == (1, 1), told
    assert has(told["problem"], "providers: no provider has a key or login that works", "proxy-core init")
    assert (ready, nothing["problem"]) == (0, [])
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_a_name_of_the_settings_that_leads_nowhere_is_a_problem(doctor, tmp_path):
    (tmp_path / "own.toml").write_text('[models]\ngone = "nobody/x"\nbig = ["nobody/x", "house/x"]\n')
    code, told = await doctor("--config", "own.toml", HOUSE_API_BASE="http://127.0.0.1:9/v1")

    assert code == 1
    assert has(told["problem"], "models.gone: no provider 'nobody' is active")
    assert has(told["problem"], "models.big: no provider 'nobody' is active")


async def test_people_get_lines_with_settings_and_what_to_do(tmp_path, server):
    variables = install(tmp_path, server) | {"PROXY_SERVR__PORT": "1", "PROXY_API_KEY": SECRET}
    code, output = await typed(tmp_path, variables, "doctor")

    assert code == 1
    assert SECRET not in output
    assert "environment variable PROXY_API_KEY" in output
    assert "problem: settings: PROXY_SERVR__PORT sets nothing: no such setting; correct its name or unset it" in output
    assert "2 problems to fix" in output  # and there is no provider


async def test_modes_are_found_and_fixed(doctor, tmp_path):
    file = put(tmp_path, "work")
    file.chmod(0o644)
    file.parent.chmod(0o755)
    code, told = await doctor()
    fixed, after = await doctor("--fix")
    again, _ = await doctor()

    assert (code, fixed, again) == (1, 0, 0)
    assert has(told["problem"], f"other users may read {file}", "0644", f"chmod 600 {file}")
    assert has(told["problem"], f"other users may enter {file.parent}", "chmod 700")
    assert len(after["fixed"]) == 2
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


async def test_a_linked_file_that_others_may_read_is_found(doctor, tmp_path, variables):
    file = tmp_path / "creds.json"
    file.write_text(json.dumps({"access_token": SECRET, "refresh_token": f"{SECRET}-r", "expiry_date": 2e12}))
    await typed(tmp_path, variables, "credentials", "import", "ex_ample", str(file), "--link")
    file.chmod(0o666)
    code, told = await doctor()
    fixed, _ = await doctor("--fix")

    assert (code, fixed) == (1, 0)
    assert has(told["problem"], f"other users may read {file}", "0666")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [None, "", "[1]"])
async def test_a_linked_file_that_cannot_be_read_is_found(doctor, tmp_path, variables, content):
    file = tmp_path / "creds.json"
    file.write_text(json.dumps({"access_token": SECRET, "refresh_token": f"{SECRET}-r", "expiry_date": 2e12}))
    file.chmod(0o600)
    await typed(tmp_path, variables, "credentials", "import", "ex_ample", str(file), "--link")
    file.unlink() if content is None else file.write_text(content)
    code, told = await doctor()

    assert code == 1
    assert has(told["problem"], "ex_ample 1", str(file), "proxy-core credentials remove ex_ample 1")


async def test_tokens_in_variables_are_looked_at_and_not_written(doctor, tmp_path):
    given = {"EXAMPLE_1_ACCESS_TOKEN": SECRET, "EXAMPLE_1_REFRESH_TOKEN": f"{SECRET}-r", "EXAMPLE_1_EXPIRY_DATE": "1"}
    code, told = await doctor(**given)

    assert has(told["note"], "ex_ample env-1: expired"), (code, told)
    assert not any(SECRET in file.read_text("latin-1") for file in (tmp_path / "data").rglob("*") if file.is_file())


async def test_credentials_that_cannot_be_used_are_found(doctor, tmp_path):
    past = "2020-01-01T00:00:00+00:00"
    put(tmp_path, "one", identity="a@b")
    put(tmp_path, "two", identity="a@b")
    put(tmp_path, "ended", expires_at=past, refresh_token=None, identity="c@d")
    put(tmp_path, "due", expires_at=past)
    put(tmp_path, "strange", kind="gone_oauth")
    put(tmp_path, "damaged").write_text("{")
    from pydantic import SecretStr

    from proxy_core.credentials.stored import digest

    token = digest(SecretStr(f"{SECRET}-refused"))
    put(tmp_path, "refused", needs_login={"why": "the server said no", "since": past, "token": token})
    code, told = await doctor()

    assert code == 1
    assert has(told["problem"], "ex_ample two is the same account as one", "remove one")
    assert has(told["problem"], "ex_ample ended: expired", "proxy-core login ex_ample")
    assert has(told["problem"], "ex_ample strange", "gone_oauth")
    assert has(told["problem"], "ex_ample damaged: it is not JSON")
    assert has(told["problem"], "ex_ample refused: the server said no", "proxy-core login ex_ample")
    assert has(told["note"], "ex_ample due: expired", "a running proxy refreshes it")


async def test_what_killed_processes_left_is_found_and_deleted(doctor, tmp_path):
    left = put(tmp_path, "work").with_name(".work.json.1-abcdabcd.tmp")
    left.write_text(SECRET)
    left.chmod(0o600)
    os.utime(left, (1, 1))
    fresh = left.with_name(".work.json.1-abcdabce.tmp")
    fresh.write_text(SECRET)
    fresh.chmod(0o600)
    os.utime(fresh, (LATER, LATER))
    run = tmp_path / "data" / "run"
    run.mkdir(mode=0o700)
    (run / "4194399.sock").touch()
    code, told = await doctor()
    fixed, _ = await doctor("--fix")

    assert (code, fixed) == (1, 0)
    assert has(told["problem"], "4194399.sock was left")
    assert has(told["problem"], "tmp was left behind by a killed process")
    assert not left.exists() and list(run.iterdir()) == []
    assert has(told["note"], f"{fresh} contains tokens, and is being written or was left behind", "there after 60 s")
    assert fresh.exists()


async def test_doctor_checks_how_the_proxy_would_be_served(doctor):
    (
        (open_code, opened),
        (memory, shared),
        (keyless, refused),
        (complains, complained),
        (skipped, left_out),
    ) = await asyncio.gather(
        doctor(PROXY_SERVER__HOST="0.0.0.0", PROXY_API_KEY=SECRET),
        doctor(PROXY_SERVER__WORKERS="2", PROXY_STATE__URL="memory:"),
        doctor(PROXY_SERVER__HOST="0.0.0.0"),
        doctor(PROXY_PLUGINS__EXAMPLE__COMPLAINT="the vendor's app is too old"),
        doctor(PROXY_PLUGINS__EXAMPLE__NOSUCH="1", OAUTH_REFRESH_INTERVAL="90000"),
    )

    assert (open_code, memory, keyless, complains, skipped) == (1, 1, 1, 1, 1)
    assert has(opened["problem"], "without TLS")
    assert has(shared["problem"], "2 workers", "memory")
    assert has(refused["problem"], "no client key is configured")
    assert has(complained["problem"], "example: the vendor's app is too old")
    assert has(left_out["problem"], "OAUTH_REFRESH_INTERVAL")


async def test_a_damaged_store_is_reported(doctor, tmp_path):
    folder = tmp_path / "not-a-file.db"
    folder.mkdir()
    code, told = await doctor(PROXY_STATE__URL=f"sqlite:///{folder}")

    assert code == 1
    assert has(told["problem"], "state:")


async def test_a_provider_that_is_the_proxy_itself_is_reported(doctor):
    _, told = await doctor(HOUSE_API_BASE="http://localhost:8000/v1", HOUSE_API_KEY=SECRET)

    assert has(told["problem"], "provider house: http://localhost:8000 is this proxy's own address")


async def test_a_provider_that_nothing_serves_and_short_keys_are_problems(doctor, tmp_path):
    (tmp_path / "config" / "proxy-core").mkdir(parents=True)
    (tmp_path / "config" / "proxy-core" / "proxy-core.toml").write_text("[providers.nobody]\napi_keys = []\n")
    code, told = await doctor(HOUSE_API_BASE="http://127.0.0.1:9/v1", PROXY_API_KEY="short")

    assert code == 1
    assert has(told["problem"], "no active plugin provides 'nobody'"), told
    assert has(told["problem"], "clients.default.key has fewer than 16 characters")


async def test_upstreams_are_asked_only_if_asked_for_and_without_a_key(doctor):
    async with FakeUpstream() as upstream:
        house = {"HOUSE_API_BASE": upstream.url, "HOUSE_API_KEY": SECRET}
        gone = {"GONE_API_BASE": "http://127.0.0.1:9/v1", "GONE_API_KEY": SECRET}
        upstream.for_path("/models").responds(401, headers={"date": "Tue, 01 Jan 2030 00:00:00 GMT"}, body=b"{}")
        quiet, _ = await doctor(**house)
        asked_before = len(upstream.requests)
        code, told = await doctor("--upstreams", **house, **gone)
        place = upstream.url.removesuffix("/v1")

    assert (quiet, asked_before, code) == (0, 0, 1)
    assert has(told["note"], f"house: {place} answers (401)")
    assert has(told["problem"], "gone: http://127.0.0.1:9 does not answer")
    assert has(told["problem"], "clock", "behind that of house")
    assert SECRET not in str([r.headers for r in upstream.requests])


async def test_a_data_folder_that_cannot_be_entered_or_written_is_found(tmp_path, variables):
    folder = f"{tmp_path}/{'x' * 300}"  # for root, no other folder is closed
    closed = variables | {"PROXY_DATA_DIR": folder, "PROXY_API_KEY": SECRET}
    code, output = await typed(tmp_path, closed, "doctor", "--json")
    start, printed = await typed(tmp_path, variables | {"PROXY_DATA_DIR": folder}, "serve", "--port", "0")

    told = [f"{f['level']}: {f['what']}" for f in json.loads(output[output.index("{") :])["findings"]]
    assert code == 1
    assert f"problem: nothing can be written in the data folder {folder} (File name too long)" in told
    assert has(told, "note: the data folder", "cannot be entered", "keys and logins that are stored there are not used")
    assert (start, "Set PROXY_API_KEY" in printed, "Traceback" in output + printed) == (2, True, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can enter every folder")
async def test_a_data_folder_of_somebody_else_stops_no_command_with_a_traceback(tmp_path, variables):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    closed = variables | {"PROXY_DATA_DIR": str(folder), "PROXY_API_KEY": SECRET}
    for command in (["doctor"], ["credentials", "list"], ["why", "x"], ["usage"], ["config", "check"], ["plugins"]):
        _, output = await typed(tmp_path, closed, *command)
        assert "Traceback" not in output, command


async def test_a_provider_that_is_left_out_is_named_with_what_is_wrong(doctor, tmp_path):
    (tmp_path / "proxy-core.toml").write_text(
        '[providers.openai]\ndialects = ["openai_chta"]\n[providers.lab]\nbase_url = "http://127.0.0.1:1"\n'
    )

    code, told = await doctor()

    assert code == 1
    assert has(told["problem"], "providers.openai.dialects: 'openai_chta' is not one of openai_chat")
    assert not has(told["problem"], "lab")
