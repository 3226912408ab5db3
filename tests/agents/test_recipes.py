"""The recipes for clients in the README and in ``plugins/clients``, run as they are written there: see README.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.agents.programs import FOLDERS, NOWHERE, found, output_of
from tests.matrix.upstreams import ChatUpstream, Reply

from proxy_core.testing import serving
from proxy_core.testing.program import PROGRAM

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:8000"
ANSWER = "hello"
#: What a recipe leaves to the user: a prompt, and what the program would ask.
PROMPTS = {
    "Claude Code": "-p hi",
    "Codex": "exec --skip-git-repo-check hi",
    "Gemini CLI": "--skip-trust -p hi",
    "Qwen Code": "-p hi",
    "OpenCode": "run hi",
    "aider": "--message hi --yes-always --no-git --no-check-update --no-show-release-notes --analytics-disable",
}
PROGRAMS = dict(zip("claude codex gemini qwen opencode aider".split(), PROMPTS, strict=True))
SILENT = json.dumps({"privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}})


def section(page, title):
    return re.split(rf"^## {title}\n", page.read_text(), flags=re.MULTILINE)[1].split("\n## ")[0]


def indented(text):
    return "\n".join(line.strip() for line in text.splitlines() if line.startswith("    "))


def recipes():
    """The shell's recipes, by the comment above each, and what all of them need before."""
    before, *found = re.split(r"^# (.+)\n", indented(section(ROOT / "README.md", "Connecting clients")), flags=re.M)
    return before, dict(zip(found[::2], found[1::2], strict=True))


def libraries(language):
    """The libraries' recipes, and what all of them need before."""
    text = section(ROOT / "plugins/clients/README.md", "Libraries")
    return indented(text), re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


class Place:
    """A home folder in which the program serves, as a user has it."""

    def __init__(self, home, url):
        self.home, self.url = home, url

    async def run(self, script, **variables):
        """The output of a script of the shell that a page shows."""
        command = ["bash", "-c", script.replace(URL, self.url)]
        return await output_of(command, home=self.home, cwd=self.home, variables=variables)


@pytest.fixture
async def place():
    with tempfile.TemporaryDirectory(prefix="pc-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        async with ChatUpstream(lambda request: Reply(text=("hel", "lo"))) as server:
            server.for_path("/embeddings").responds(
                json_body={"object": "list", "model": "e", "data": [{"index": 0, "embedding": [0.5, 0.25, 0.125]}]}
            )
            provider = "".join(f"{name} = {json.dumps(value)}\n" for name, value in server.providers["up"].items())
            models = '[models]\nfast = "up/small"\nembedder = "up/embedder"\n'
            (home / "proxy-core.toml").write_text(f"[providers.up]\n{provider}{models}")
            (home / ".local/bin").mkdir(parents=True)
            async with serving(home, XDG_CONFIG_HOME="", XDG_DATA_HOME="") as program:
                yield Place(home, program.url)


def test_every_recipe_has_at_most_five_lines():
    of_libraries = [recipe for language in ("python", "js", "sh") for recipe in libraries(language)[1]]
    lengths = [len(re.findall(r"^.", text, re.MULTILINE)) for text in (*recipes()[1].values(), *of_libraries)]

    assert len(lengths) == 6 + 5 + 1 + 1
    assert max(lengths) <= 5
    assert set(recipes()[1]) == set(PROMPTS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(found(name) is None, reason=f"needs {name} in PROXY_CORE_AGENTS"))
        for name in PROGRAMS
    ],
)
async def test_a_recipe_for_an_agent(place, name):
    before, found = recipes()
    title = PROGRAMS[name]
    recipe = found[title].rstrip().replace("proxy-core setup", f"{PROGRAM} setup --url {place.url} --yes")
    for folder in (".gemini", ".qwen"):
        (place.home / folder).mkdir()
        (place.home / folder / "settings.json").write_text(SILENT)

    output = await place.run(f"{before}{recipe} {PROMPTS[title]}", **({} if name in ("gemini", "qwen") else NOWHERE))

    assert ANSWER in output, output


def _python(module):
    """An interpreter that has this module."""
    for program in filter(shutil.which, (sys.executable, *(f"{folder}/python" for folder in FOLDERS))):
        if subprocess.run([program, "-c", f"import {module}"], capture_output=True).returncode == 0:
            return program
    return None


MODULES = ("openai", "anthropic", "google", "langchain_openai", "llama_index.llms.openai_like")


@pytest.mark.parametrize("module", MODULES)
async def test_a_recipe_in_python(place, module):
    before, found = libraries("python")
    (recipe,) = (recipe for recipe in found if recipe.startswith(f"from {module} import"))
    python = _python(module)
    if python is None:
        pytest.skip(f"needs {module}, here or in PROXY_CORE_AGENTS")
    (place.home / "recipe.py").write_text(recipe.replace(URL, place.url))

    output = await place.run(f"{before}\n'{python}' recipe.py", **NOWHERE)

    assert ANSWER in output.splitlines(), output
    assert "3" in output.splitlines() or "embed" not in recipe, output


async def test_a_recipe_in_javascript(place):
    before, (recipe,) = libraries("js")
    modules = next(
        (f for folder in FOLDERS if (f := Path(folder).parent).name == "node_modules" and (f / "ai").exists()), None
    )
    if modules is None or shutil.which("node") is None:
        pytest.skip("needs the package ai in PROXY_CORE_AGENTS")
    (place.home / "node_modules").symlink_to(modules)
    (place.home / "recipe.mjs").write_text(recipe)

    output = await place.run(f"{before}\nnode recipe.mjs", **NOWHERE)

    assert ANSWER in output, output


@pytest.mark.skipif(found("llm") is None, reason="needs llm in PROXY_CORE_AGENTS")
async def test_a_recipe_for_llm(place):
    _, (recipe,) = libraries("sh")

    output = await place.run(recipe, **NOWHERE)

    assert ANSWER in output, output
