"""No secret leaves: plant them everywhere, go every way there is with all logging on, look at all that came out.

``SURFACES`` is where to look. Whoever adds a way out of the program (a command, an endpoint, a
file) adds a line there; whoever adds a way in adds a story to ``canary.py``.
"""

import asyncio
import html
import json
import os
import re
import stat
from dataclasses import dataclass, field

import httpx
import pytest
from canary import PLAIN, STORIES, Canaries, Story, install

from proxy_core.testing import Program, run, serving
from proxy_core.testing.program import SCRIPT
from proxy_plugin_dashboard.testing import Browser

#: Hold secrets because that is what they are for.
OWN_FILES = {"proxy-core.toml", ".env"}


@dataclass
class Stage:
    """One run: the program, its secrets, and every story's reply."""

    home: object
    ours: Canaries
    variables: dict
    arguments: list
    client: httpx.AsyncClient
    bob: str = ""
    program: Program | None = None
    stories: dict = field(default_factory=dict)
    replies: dict = field(default_factory=dict)


# --- Where to look -----------------------------------------------------------------------


async def process_list(stage):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")) if os.path.isdir("/proc") else ():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                found.append(file.read())
        except OSError:
            continue
    return b"\n".join(found)


def asked(path, method="GET"):
    async def ask(stage):
        headers = {"authorization": f"Bearer {stage.bob}", "origin": "https://evil.example"}
        reply = await stage.client.request(method, stage.program.url + path, headers=headers)
        return b"\n".join(name + b": " + value for name, value in reply.headers.raw) + reply.content

    return ask


async def dashboard(stage):
    """Every page, the first it leads to of each kind, and what each live feed sends at first."""
    [key_file] = stage.home.rglob("admin.key")
    browser, found = Browser(stage.client, stage.program.url), []
    assert (await browser.sign_in(key_file.read_text().strip())).status_code == 204
    pages = re.findall(r'href="(/admin/ui/\w+)"', (await browser.get("/admin/ui/accounts")).text)
    assert len(set(pages)) >= 2
    for path in dict.fromkeys(pages):
        reply = await browser.get(path)
        assert reply.status_code == 200, path
        below = {link.rpartition("/")[0]: link for link in re.findall(rf'(?:href|hx-get)="({path}/[^"]+)"', reply.text)}
        replies = [reply, *[await browser.get(html.unescape(link)) for link in below.values()]]
        found += [name + b": " + value for reply in replies for name, value in reply.headers.raw]
        found += [reply.content for reply in replies]
        if "sse-connect" in reply.text:
            async with browser.feed(path.rpartition("/")[2]) as following:
                shown = set(re.findall(r'sse-swap="(\w+)"', reply.text))
                while shown:
                    name, text = await following()
                    shown.discard(name)
                    found.append(text.encode())
    found.append((await browser.page("settings?all=1")).encode())
    for action, form in (("settings/check", {}), ("models/try", {"model": "nowhere/x", "prompt": "hi"})):
        found.append((await browser.post(f"/admin/ui/{action}", form)).content)
    return b"\n".join(found)


def printed(*command):
    async def show(stage):
        _, output = await run(stage.home, *command, **stage.variables)
        return output.encode()

    return show


async def console(stage):
    return stage.program.output.encode()


async def files(stage):
    """Names and contents of everything in the program's home."""
    own = [f for f in stage.home.rglob("*") if f.is_file() and f.name not in OWN_FILES and "site" not in f.parts]
    return b"\n".join(str(file).encode() + b"\n" + file.read_bytes() for file in own)


#: Name to (when, how): while the program runs, or after it has ended; commands print the same in every mode.
SURFACES = {
    "process list": ("running", process_list),
    "root": ("running", asked("/")),
    "health": ("running", asked("/healthz")),
    "readiness": ("running", asked("/readyz")),
    "models": ("running", asked("/v1/models")),
    "model": ("running", asked("/v1/models/plain/small")),
    "providers": ("running", asked("/v1/providers")),
    "dashboard": ("running", dashboard),
    "command top": ("running", printed("top", "--once")),
    "command usage --forecast": ("once", printed("usage", "--forecast", "--json")),
    "cross-origin request": ("running", asked("/v1/chat/completions", "OPTIONS")),
    "command plugins": ("once", printed("plugins")),
    "command plugins --json": ("once", printed("plugins", "--json")),
    "command models --json": ("once", printed("models", "--json")),
    "command config show --all": ("once", printed("config", "show", "--all", "--json")),
    "command config check": ("once", printed("config", "check")),
    "command config diff": ("once", printed("config", "diff")),
    "command doctor": ("once", printed("doctor", "--upstreams")),
    "command providers": ("once", printed("providers")),
    "command credentials list": ("once", printed("credentials", "list")),
    "command credentials test": ("once", printed("credentials", "test", "judged")),
    "console": ("ended", console),
    "files": ("ended", files),
}


# --- The run -----------------------------------------------------------------------------

MODES = {
    "people": {},
    "json, two workers": {"log": 'format = "json"', "arguments": ["--workers", "2"]},
    "no redactor": {"arguments": ["--disable-plugin", "redaction"], "chatty": False},
    "redactor raises": {"plugin": "break_redactor = true"},
}


def settings(stage, upstream, mode):
    """The settings file, with a provider for each story."""
    ours = stage.ours
    lines = [
        *("[server]", "max_body_bytes = 65536", "shutdown_grace_s = 1"),
        *("[timeouts]", "first_event_s = 0.6", "idle_s = 0.6"),
        *("[streams]", "max_event_bytes = 4096", "[upstream]", "max_response_bytes = 8192"),
        *("[routing]", "attempts_per_credential = 1", "max_wait_s = 1"),  # no story waits for a cooldown
        *("[records]", "enabled = true"),
        *("[log]", 'level = "debug"', "debug = true", f'folder = "{stage.home}/logs"', mode.get("log", "")),
        *("[clients.ann]", f'key = "{ours.openai()}"', "[clients.bob]", f'key = "{stage.bob}"'),
        *("[plugins.noisy]", f'token = "{ours.core()}"', f'upstream = "{upstream.url}/judged"', mode.get("plugin", "")),
        f"chatty = {str(mode.get('chatty', True)).lower()}",
        *("[providers.broken]", f'api_keys = ["{ours.core()}"]'),
    ]
    judged = ours.jwt()
    lines += ["[providers.judged]", f'api_keys = ["{judged}"]']
    upstream.for_key(judged).responds(500, {"error": {"message": judged}})
    for name in STORIES:
        credential, header = f"{ours.openai()}/{ours.core()}", f"{ours.jwt()}"
        script = upstream.for_key(credential)
        stage.stories[name] = Story(name, Canaries(f"{ours.owner} {name}"), credential, header, script)
        lines += [f"[providers.{name}]", f'base_url = "{upstream.url}"', f'api_keys = ["{credential}"]']
        lines += [f'headers = {{ x-internal-token = "Bearer {header}" }}', 'models = ["small"]']
    return "\n".join(lines)


async def tell(stage, name, ann, redacts):
    """One story; its reply is kept, headers and all."""
    story = stage.stories[name]
    sent = STORIES[name](story)
    headers = {**sent.headers, "authorization": f"Bearer {sent.key or ann}", "content-type": "application/json"}
    if redacts:  # without a redactor an id is written as the client chose it
        headers["x-request-id"] = story.own.openai()
    content = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
    url = stage.program.url + sent.path
    async with stage.client.stream(sent.method, url, content=content, headers=headers) as reply:
        found = [name + b": " + value for name, value in reply.headers.raw]
        async for piece in reply.aiter_raw():
            found.append(piece)
            if sent.leave:
                break
    stage.replies[name] = b"\n".join(found)


#: The usual mode is in the fast tier.
TIERS = [mode if mode == "people" else pytest.param(mode, marks=pytest.mark.slow) for mode in MODES]


@pytest.fixture(params=TIERS, ids=lambda name: name.replace(" ", "-").replace(",", ""))
async def stage(request, tmp_path, upstream):
    """A run of all stories, and everything that came out of it: ``(stage, {surface: bytes}, mode)``."""
    mode, ours = MODES[request.param], Canaries(request.param)
    redacts = request.param in ("people", "json, two workers")
    moments = ("running", "once") if request.param == "people" else ("running",)
    environ = {"EXTRA_API_KEY": ours.google(), "EXTRA_API_BASE": upstream.url, "PROXY_DEBUG_LOG": "true"}
    environ["PYTHONPATH"] = install(tmp_path / "site")
    arguments = ["--enable-request-logging", *mode.get("arguments", [])]
    client = httpx.AsyncClient(timeout=20, verify=False)
    stage = Stage(tmp_path, ours, environ, arguments, client, bob=ours.openai())
    listed = {"data": [{"id": "small", "echo": f"{environ['EXTRA_API_KEY']}"}]}
    upstream.for_path("/models").responds(json_body=listed)
    (tmp_path / "proxy-core.toml").write_text(text := settings(stage, upstream, mode))
    (tmp_path / ".env").write_text(f"DOT_API_KEY={ours.jwt()}\nDOT_API_BASE={upstream.url}\n")
    ann = text.split('[clients.ann]\nkey = "')[1].split('"')[0]
    out = {}
    command = None if request.param == "people" else SCRIPT  # a forked process is listed as what it was forked from
    async with client, serving(tmp_path, *stage.arguments, command=command, **environ) as stage.program:
        await asyncio.gather(*(tell(stage, name, ann, redacts) for name in STORIES))
        await asyncio.sleep(0.5)  # records are written a moment later
        looks = {name: look for name, (when, look) in SURFACES.items() if when in moments}
        out |= dict(zip(looks, await asyncio.gather(*(look(stage) for look in looks.values())), strict=True))
    out |= {name: await look(stage) for name, (when, look) in SURFACES.items() if when == "ended"}
    return stage, out, request.param


def leaks(data, needles):
    return [needle.decode() for needle in needles if needle in data]


async def test_no_secret_is_in_anything_that_left_the_program(stage, upstream):
    stage, out, mode = stage
    planted = {"ours": stage.ours.needles, **{name: story.own.needles for name, story in stage.stories.items()}}

    found = {
        f"{surface}: {whose}": leaks(data, needles)
        for surface, data in out.items()
        for whose, needles in planted.items()
    }
    assert {where: what for where, what in found.items() if what} == {}

    # A client sees its own words and what its upstream said, but nothing of ours and of others.
    found = {
        f"{name}: {whose}": leaks(reply, needles)
        for name, reply in stage.replies.items()
        for whose, needles in planted.items()
        if whose != name
    }
    assert {where: what for where, what in found.items() if what} == {}

    # What nobody may clean is not written, whatever it looks like.
    written = out["files"] + out["console"]
    assert (PLAIN.encode() in written) == (mode in ("people", "json, two workers"))

    check_that_it_was_there_to_be_found(stage, out, mode, upstream)


def check_that_it_was_there_to_be_found(stage, out, mode, upstream):
    """The stories did happen, and everything was logged that can be."""
    records = [json.loads(line) for f in stage.home.rglob("*.jsonl") for line in f.read_text().splitlines()]
    told = {record.get("model", "").partition("/")[0] for record in records}
    logs = [f for f in stage.home.rglob("proxy*.log") if f.parent.name == "logs"]

    assert stage.replies.keys() == STORIES.keys()
    assert b"\naccounts " in out["command top"]
    assert {request.key for request in upstream.requests} >= {
        s.credential for n, s in stage.stories.items() if n in USED
    }
    assert {file.name.partition(".")[0] for file in logs} == {"proxy", "proxy_debug"}
    assert sum(file.stat().st_size for file in logs) > 10_000
    assert {stat.S_IMODE(f.stat().st_mode) for f in [*logs, *stage.home.rglob("*.jsonl")]} == {0o600}
    assert b"noisy" in out.get("command plugins", b"noisy")
    assert b'"small"' in out["models"] or b"/small" in out["models"]
    if mode == "redactor raises":
        assert all(record["redaction"] == "failed" for record in records)
        assert len(records) > 25
    else:
        assert told >= USED
        assert b"[redacted]" in out["files"]
    assert b"my token is [redacted]" in out["console"] or mode == "redactor raises"


#: Stories whose requests reach an upstream of their own.
USED = set(STORIES) - {
    *("wrong-key", "wrong-path", "wrong-method", "too-large", "no-json", "nested-too-deeply", "wrong-field"),
    *("unknown-model", "unknown-single-model", "broken-sanitizer", "broken-judge", "broken-encoder"),
}


# --- Before anything runs ----------------------------------------------------------------

WRONG = {
    "types": '[clients]\nann = "{}"\n[providers.a]\napi_keys = {{ x = "{}" }}\nheaders = ["{}"]\nbase_url = "x://{}"',
    "keys": '[clients.ann]\nkey = "{} with \\u00fcmlaut"\n[providers.a]\napi_keys = ["{}\\n{}"]\nkey = "{}"',
    "addresses": '[providers.a]\nbase_url = "https://user:{}@x.example/?key={}"\n[providers]\nb = "{}{}"',
    "syntax": '[clients.ann]\nkey = "{}" "{}"\nother = {}{}',
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_wrong_settings_are_reported_without_their_values(tmp_path, wrong):
    own = Canaries("wrong settings")
    (tmp_path / "proxy-core.toml").write_text(wrong.format(*(own.openai() for _ in range(4))))

    code, output = await run(tmp_path, "serve", "--port", "0", PROXY_CLIENTS__BOB__KEY=f"{own.core()} \x07")

    assert code == 2
    assert "proxy-core.toml" in output
    assert leaks(output.encode(), own.needles) == []


@pytest.mark.parametrize("command", [["plugins"], ["plugins", "--json"], ["serve", "--port", "0"]], ids=" ".join)
async def test_a_plugin_that_cannot_start_reveals_no_secret(tmp_path, command):
    own = Canaries("noisy")
    noisy = f'[plugins.noisy]\ntoken = "{own.core()}"\nbreak_startup = true\n[clients.ann]\nkey = "{own.openai()}"\n'
    (tmp_path / "proxy-core.toml").write_text(noisy)

    code, output = await run(tmp_path, *command, PYTHONPATH=install(tmp_path / "site"))

    assert "ValueError: my token is [redacted]" in output
    assert leaks(output.encode(), own.needles) == []
    assert code == (2 if command[0] == "serve" else 0)
