"""``why``, ``explain`` and ``cooldown clear`` on the running program."""

import asyncio
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess

import httpx
import pytest

from proxy_core.server.control_socket import Unreachable, ask
from proxy_core.testing import fingerprint, run, serving
from proxy_core.testing.proxy import STATE_SECRET

CLIENT = {"authorization": "Bearer some-key"}


def variables(upstream):
    return {
        "PROXY_API_KEY": "some-key",
        "DEMO_API_BASE": upstream.url,
        "DEMO_API_KEY_1": "key-a-of-many",
        "DEMO_API_KEY_2": "key-b-of-many",
        "PROXY_ROUTING__SELECTOR": "sequential",
        "PROXY_STATE__SECRET": STATE_SECRET,
    }


def chat(client, program, model="demo/small"):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return client.post(f"{program.url}/v1/chat/completions", json=body, headers=CLIENT, timeout=20)


def limits(upstream, **hint):
    said = {"error": {"message": "slow down,\n key-a-of-many\u001b[31m", "code": "rate_limit_exceeded"}}
    upstream.for_key("key-a-of-many").responds(429, said, headers=hint or {"retry-after": "900"})


async def test_a_cooldown_is_shown_explained_and_cleared(home, upstream):
    limits(upstream)
    names = variables(upstream)
    async with serving(home, **names) as program, httpx.AsyncClient() as client:
        reply = await chat(client, program)
        request_id = reply.headers["x-request-id"]
        (
            (why_code, why),
            (_, as_json),
            (_, explained),
            (_, planned),
            (unknown_code, unknown),
            (no_code, no),
        ) = await asyncio.gather(
            run(home, "why", "demo/small", **names),
            run(home, "why", "demo/small", "--json", **names),
            run(home, "explain", request_id, **names),
            run(home, "explain", "--dry-run", "--model", "demo/small", **names),
            run(home, "explain", "nobodys", **names),
            run(home, "why", "nope", **names),
        )
        cleared = await run(home, "cooldown", "clear", "--credential", fingerprint("key-a-of-many"), **names)
        again = await run(home, "cooldown", "clear", **names)

    a, b = fingerprint("key-a-of-many"), fingerprint("key-b-of-many")
    assert why_code == 0
    assert re.search(rf"{a} +DEMO_API_KEY_1 .* cooling down .*slow down, \[redacted\]", why)
    assert re.search(rf"{b} +DEMO_API_KEY_2 .* usable ", why)
    assert "\x1b" not in why
    assert json.loads(as_json)[0]["deployments"][0]["credentials"][0]["cooldowns"][0]["code"] == "rate_limit_exceeded"
    assert f"{request_id}: demo/small for default" in explained
    assert f"attempt 1: demo/small with {a}, 429, fault of the model" in explained
    assert f"chosen: {b}\n    excluded {a}: tried" in explained
    assert f"excluded {a}: cooling down for another" in planned
    assert f"would send: POST {upstream.url}/chat/completions" in planned
    assert (unknown_code, no_code) == (1, 1)
    assert "No request 'nobodys' is in the history" in unknown
    assert "nope" in no
    assert cleared == (0, "cleared: 1\n")
    assert again == (0, "cleared: 0\n")
    assert upstream.keys_seen == ["key-a-of-many", "key-b-of-many"], "asking sends nothing"
    assert not any("key-a-of-many" in shown or "key-b-of-many" in shown for shown in (why, as_json, explained, planned))


@pytest.mark.slow
async def test_all_workers_are_asked_and_all_obey(home, upstream, http_server):
    limits(upstream)
    names = variables(upstream)
    async with serving(home, "--workers", "2", "--server", http_server, **names) as program:
        folder = home / "data" / "proxy-core" / "run"
        async with asyncio.timeout(20):
            while len(list(folder.glob("*.sock"))) < 2:
                await asyncio.sleep(0.02)
        last = ""

        async def answered():
            nonlocal last
            async with httpx.AsyncClient() as client:
                last = (await chat(client, program)).headers["x-request-id"]

        key = (home / "data" / "proxy-core" / "admin.key").read_text().strip()

        async def resting():
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=20) as client:
                found = (await client.get(f"{program.url}/admin/why?model=demo/small")).json()["processes"]
            return [p["process"] for p in found if p["deployments"][0]["credentials"][0]["state"] == "cooling down"]

        async with asyncio.timeout(20):
            while len(asked := await resting()) < 2:
                await asyncio.gather(*(answered() for _ in range(8)))
        (_, why), (code, explained), (_, planned) = await asyncio.gather(
            run(home, "why", "demo/small", **names),
            run(home, "explain", last, **names),
            run(home, "explain", "--dry-run", "--model", "demo/small", "--json", **names),
        )
        _, cleared = await run(home, "cooldown", "clear", **names)
        _, after = await run(home, "why", "demo/small", "--json", **names)
        sockets = {int(path.stem) for path in folder.glob("*.sock")}

    assert {int(pid) for pid in re.findall(r"^process (\d+)$", why, re.MULTILINE)} == sockets
    assert (code, f"{last}: demo/small" in explained) == (0, True)
    assert len(json.loads(planned)) == 2
    assert set(asked) == sockets, "a question over the network reaches all as well"
    assert cleared == "cleared: 1 in 2 processes\n"
    states = [c["state"] for p in json.loads(after) for d in p["deployments"] for c in d["credentials"]]
    assert states == ["usable"] * 4
    assert list(folder.glob("*.sock")) == []


async def test_with_tls_the_command_line_needs_no_certificate(home, upstream, http_server):
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl program to make a certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    san = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make.split(), *san], cwd=home, check=True, capture_output=True)
    options = ["--tls-certificate", str(home / "cert.pem"), "--tls-key", str(home / "key.pem")]
    options += ["--server", http_server]
    limits(upstream)
    names = variables(upstream)
    context = ssl.create_default_context(cafile=str(home / "cert.pem"))
    async with serving(home, *options, **names) as program, httpx.AsyncClient(verify=context) as client:
        reply = await chat(client, program)
        _, cleared = await run(home, "cooldown", "clear", "--model", "demo/small", **names)

    assert program.url.startswith("https://")
    assert reply.status_code == 200
    assert cleared == "cleared: 1\n"


async def test_without_a_running_proxy_the_command_says_so(home, upstream):
    names = variables(upstream)
    commands = [("why", "demo/small"), ("explain", "some-id"), ("cooldown", "clear")]
    results = await asyncio.gather(*(run(home, *command, **names) for command in commands))
    usage, _ = await run(home, "explain", **names)

    for code, output in results:
        assert code == 1
        assert "no running proxy found for the data folder" in output
        assert "Traceback" not in output
    assert usage == 2


@pytest.mark.parametrize("lasting", [False, True])
async def test_a_process_that_does_not_answer_is_not_the_same_as_none(home, lasting):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home / "4711.sock"))
        if lasting:
            silent.listen()
        try:
            answers = await ask(home, "GET", "/admin/why", "a-key", timeout_s=0.2)
        except Unreachable:
            answers = []

    words = "process 4711 did not answer within 0.2 seconds"
    assert answers == ([(504, {"error": {"message": words}})] if lasting else [])


async def test_what_a_killed_process_left_is_removed_and_a_dry_run_needs_no_proxy(home, upstream):
    names = variables(upstream)
    folder = home / "data" / "proxy-core" / "run"
    async with serving(home, **names) as program:
        async with asyncio.timeout(20):
            while not list(folder.glob("*.sock")):
                await asyncio.sleep(0.01)
        program.process.send_signal(signal.SIGKILL)
        await program.process.wait()
    assert len(list(folder.glob("*.sock"))) == 1

    code, output = await run(home, "explain", "--dry-run", "--model", "demo/small", **names)
    bad, told = await run(home, "explain", "--dry-run", "--model", "nope", **names)

    assert code == 0
    assert "no proxy is running; this is the routing without any cooldowns" in output
    assert f"demo/small: 2 usable, chosen: {fingerprint('key-a-of-many')}" in output
    assert f"would send: POST {upstream.url}/chat/completions" in output
    assert list(folder.glob("*.sock")) == []
    assert (bad, "Traceback" in told) == (1, False)
    assert upstream.requests == []


async def test_a_folder_that_others_can_enter_is_not_listened_in(home, upstream):
    names = variables(upstream)
    folder = home / "data" / "proxy-core" / "run"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    async with serving(home, **names) as program, httpx.AsyncClient() as client:
        assert (await chat(client, program)).status_code == 200
        assert list(folder.iterdir()) == []

    assert "is accessible to other users" in program.output
