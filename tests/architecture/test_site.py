"""The documentation site: it builds without a warning, and every example on it runs."""

import asyncio
import importlib.util
import inspect
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import proxy_core.api
import proxy_core.cli.api
import proxy_core.testing.api

DOCS = Path(__file__).parents[2] / "docs"
PUBLIC = (proxy_core.api, proxy_core.cli.api, proxy_core.testing.api)
#: A file on a page: its name, then its content. The tutorial's are a package, which test_docs.py builds.
FILE = re.compile(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files(page):
    return dict(FILE.findall(page.read_text()))


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert (built.returncode, built.stderr) == (0, "")
    reference = (tmp_path / "api.html").read_text()
    assert "class proxy_core.interfaces.providers.Provider" in re.sub(r"<[^>]+>", "", reference)
    public = [(name, value) for api in PUBLIC for name, value in vars(api).items() if not name.startswith("_")]
    ours = [(name, value) for name, value in public if inspect.isclass(value) or inspect.isfunction(value)]
    missing = [
        name for name, value in ours if value.__module__.startswith("proxy_core.") and f'.{name}"' not in reference
    ]
    assert missing == []


@pytest.mark.slow
def test_every_example_passes_its_test(tmp_path):
    """As its reader would run it: the files in one folder, with the fixtures that pytest finds by itself."""
    pages = [*sorted((DOCS / "hooks").glob("*.md")), DOCS / "examples.md"]
    found = [(name, content) for page in pages for name, content in files(page).items()]
    assert len({name for name, _ in found}) == len(found), "no two pages use the same name"
    for name, content in found:
        (tmp_path / name).write_text(content)
    (tmp_path / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert ran.returncode == 0, ran.stdout[-3000:]


async def test_the_first_pages_plugin_answers(make_proxy, upstream, tmp_path):
    file = tmp_path / "parrot.py"
    file.write_text(files(DOCS / "index.md")["parrot.py"])
    spec = importlib.util.spec_from_file_location("first_page", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    environ = {"PARROT_API_BASE": upstream.url, "PARROT_API_KEY": "key-a"}

    proxy = await make_proxy({}, environ=environ, modules=[module])

    assert (await proxy.chat("parrot/grey", "hi", stream=True)).text == "hello"
    assert upstream.last.key == "key-a"


def commands(page):
    """The lines of a page's shell examples, continued ones in one piece, with ports that are free."""
    text = page.read_text().replace(" \\\n", " ")
    for port in ("8000", "8080"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            text = text.replace(port, str(free.getsockname()[1]))
    return [line.strip() for line in re.findall(r"^    (.+)$", text, re.MULTILINE)]


@asynccontextmanager
async def shell(folder, *lines):
    """Runs them as a terminal of its own until the block ends; the proxy in it has started."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", "\n".join([*lines[:-1], f"exec {lines[-1]}"])),
        cwd=folder,
        env={"PATH": path, "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = ""
    try:
        async with asyncio.timeout(60):
            while "client key:" not in output:
                line = await process.stdout.readline()
                assert line, output
                output += line.decode()
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 30)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_commands_of_the_first_page_get_a_response(tmp_path):
    (tmp_path / "parrot.py").write_text(files(DOCS / "index.md")["parrot.py"])
    *_, demo, base, key, dev, ask = commands(DOCS / "index.md")
    port = re.search(r"http://127.0.0.1:(\d+)/v1/chat", ask)[1]

    async with shell(tmp_path, demo), shell(tmp_path, base, key, f"{dev} --port {port}"):
        asked = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", ask],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            timeout=60,
        )

    assert b'"model":"parrot/demo/small"' in asked.stdout
    assert asked.stdout.rstrip().endswith(b"data: [DONE]")
