"""Importing does nothing but define things."""

import json
import subprocess
import sys

PROBE = """
import sys, json, threading, socket, subprocess
events = []
def hook(name, args):
    if name.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "urllib.")):
        events.append(name)
    if name == "open" and any(word in str(args[0]) for word in ("model_prices_and", "core_utils/tokenizers")):
        events.append(f"read {args[0]}")
    if name == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append(f"open {args[0]}")
sys.addaudithook(hook)
%s
print(json.dumps({
    "modules": sorted({m.partition(".")[0] for m in sys.modules}),
    "events": events,
    "threads": threading.active_count(),
}))
"""


def probe(code):
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROBE % code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    *printed, last = done.stdout.splitlines()
    assert printed == []
    return json.loads(last)


def test_importing_the_authors_api_has_no_side_effects_and_no_heavy_library():
    seen = probe("import proxy_core")

    assert seen["events"] == []
    assert seen["threads"] == 1
    heavy = {
        "litellm",
        "httpx",
        "aiohttp",
        "starlette",
        "hypercorn",
        "uvicorn",
        "granian",
        "click",
        "pydantic_settings",
        "prometheus_client",
        "oauthlib",
        "filelock",
    }
    assert heavy & set(seen["modules"]) == set()


def test_importing_the_app_factory_has_no_side_effects():
    seen = probe("from proxy_core.runtime import create_app")

    assert seen["events"] == []
    assert seen["threads"] == 1
    servers = {"hypercorn", "uvicorn", "granian"}
    lazy = servers | {"litellm", "aiohttp", "prometheus_client", "opentelemetry", "oauthlib", "filelock"}
    assert lazy & set(seen["modules"]) == set()


def test_composing_a_proxy_opens_no_connection_and_starts_nothing(tmp_path):
    seen = probe(
        "import os\n"
        "os.environ.update(PROXY_ADMIN__KEY='an-admin-key', PROXY_STATE__SECRET='a-state-secret')\n"
        f"os.environ.update(PROXY_API_KEY='some-key', DEMO_API_BASE='http://127.0.0.1:1/v1', HOME={str(tmp_path)!r})\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "from proxy_core.runtime import create_app\n"
        "create_app()"
    )

    assert seen["events"] == []
    assert seen["threads"] == 1
    lazy = {
        "litellm",
        "tiktoken",
        "aiohttp",
        "prometheus_client",
        "opentelemetry",
        "oauthlib",
        "filelock",
        "jinja2",
        "click",
    }
    assert lazy & set(seen["modules"]) == set()
    assert list(tmp_path.iterdir()) == []
