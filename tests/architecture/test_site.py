"""The documentation site: it builds without a warning, and every example on it runs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
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
    assert "class proxy_core.interfaces.providers.Provider" in re.sub(
        r"<[^>]+>", "", (tmp_path / "api.html").read_text()
    )


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
