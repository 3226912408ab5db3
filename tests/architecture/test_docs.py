"""What the documents say is what the code does."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from proxy_core import hookspecs
from proxy_core.plugins.loader import HOOKS
from proxy_core.settings import plugins_table, rotation, schema
from proxy_core.settings.base import Described, ModelOptions, Table
from proxy_core.settings.loading import load
from proxy_core.testing import run
from proxy_plugin_mirrowel.names import FORMS_WITHOUT_EFFECT, PROVIDER_NAMES, PROXY_NAMES, WITHOUT_EFFECT
from proxy_plugin_mirrowel.rotation_names import ROTATION_NAMES
from proxy_plugin_openai_compat.quirks import PRESETS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    ROOT / "core/README.md",
    ROOT / "benchmarks/README.md",
]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


# --- Settings ----------------------------------------------------------------------------

TABLES = {
    "server": schema.ServerSettings,
    "clients.<name>": schema.ClientSettings,
    "admin": schema.AdminSettings,
    "providers.<name>": schema.ProviderSettings,
    "providers.<name>.api_keys": rotation.KeySettings,
    "providers.<name>.models.<model>": ModelOptions,
    "providers.<name>.rotation": rotation.RotationSettings,
    "providers.<name>.rotation.caps": rotation.CapSettings,
    "providers.<name>.rotation.reserves": rotation.ReserveSettings,
    "providers.<name>.rotation.windows": rotation.WindowSettings,
    "models.<name>": schema.DeploymentRoute,
    "plugins": plugins_table.PluginsTable,
    "timeouts": schema.TimeoutSettings,
    "streams": schema.StreamSettings,
    "upstream": schema.UpstreamSettings,
    "routing": schema.RoutingSettings,
    "embeddings": schema.EmbeddingsSettings,
    "sanitizers": schema.SanitizerSettings,
    "log": schema.LogSettings,
    "records": schema.RecordSettings,
    "state": schema.StateSettings,
    "credentials": schema.CredentialsSettings,
}


def described():
    """``{table: {key: (default, meaning)}}`` as docs/settings.md has it."""
    found = {}
    for section in re.split(r"^## ", (DOCS / "settings.md").read_text(), flags=re.MULTILINE)[1:]:
        name = re.match(r"`\[{1,2}(.+?)\]{1,2}`", section)
        if name:
            rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
            found[name[1]] = {row[0].strip("`"): (row[2], row[4]) for row in rows}
    return found


def default_of(field):
    if field.default_factory is not None:
        return "empty"
    if field.default is PydanticUndefined:
        return "required"
    return "unset" if field.default is None else json.dumps(field.default)


def test_the_page_of_settings_has_every_table():
    nested = {m for m in vars(schema).values() if isinstance(m, type) and issubclass(m, Table)}

    assert described().keys() == TABLES.keys()
    bases = {Table, Described, schema.NetworkSettings, schema.ProxySettings, schema.PluginSettings}
    assert nested - bases <= set(TABLES.values())


@pytest.mark.parametrize("table", TABLES)
def test_the_page_of_settings_says_of_each_key_what_the_model_says(table):
    model: type[BaseModel] = TABLES[table]
    page = described()[table]

    assert {key: (default_of(f), f.description.replace("``", "`")) for key, f in model.model_fields.items()} == page


def test_the_page_of_mirrowels_names_has_every_one():
    text = (ROOT / "plugins/mirrowel/README.md").read_text()
    names = [*PROXY_NAMES, *PROVIDER_NAMES, *ROTATION_NAMES, *WITHOUT_EFFECT, *FORMS_WITHOUT_EFFECT]

    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_settings_shown_are_settings(page, tmp_path):
    for block in blocks(page, "toml"):
        tables = tomllib.loads(block)
        if "project" not in tables:
            load(overrides=tables, environ={}, cwd=tmp_path)


#: How pages that PyPI shows link to what lies beside them in the repository.
SOURCE = re.compile(r"https://github\.com/proxy-core/proxy-core/(?:blob|tree)/main/")
PACKAGES = [page for page in PAGES if (page.parent / "pyproject.toml").exists() and page.parent != ROOT]


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


def target(page, link):
    """The file that a link leads to; ``None`` if that is not in the repository."""
    path = link.partition("#")[0]
    if source := SOURCE.match(path):
        return ROOT / path[source.end() :]
    return page.parent / path if path and "://" not in path else None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [link for link in links(page) if (file := target(page, link)) and not file.exists()] == []


@pytest.mark.parametrize("page", PACKAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_page_of_a_package_stands_alone(page):
    """PyPI shows it without anything beside it, and gives headings no anchors."""
    assert [link for link in links(page) if "://" not in link] == []


@pytest.mark.parametrize("page", PACKAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_says_where_it_comes_from(page):
    project = tomllib.loads((page.parent / "pyproject.toml").read_text())["project"]
    folder = page.parent.relative_to(ROOT).as_posix()

    assert project["authors"] == [{"name": "proxy-core contributors"}]
    assert (project["readme"], project["license"]) == ("README.md", "MIT")
    assert "Typing :: Typed" in project["classifiers"]
    assert {"Homepage", "Documentation", "Issues"} <= project["urls"].keys()
    assert project["urls"]["Changelog"].endswith(f"/blob/main/{folder}/CHANGELOG.md")
    assert project["urls"]["Source"].endswith(f"/tree/main/{folder}")


# --- Hooks, presets, commands ------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
def test_the_page_of_hooks_has_the_signature(hook):
    signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")

    page = (DOCS / "hooks" / f"{hook}.md").read_text()

    assert page.startswith(f"# `{hook}`\n\n```python\ndef {hook}{signature}\n```\n\n")
    assert "def test_" in page, "an example with its test"
    assert f"(hooks/{hook}.md)" in (DOCS / "hooks.md").read_text()


def test_the_presets_are_listed():
    text = (ROOT / "plugins/openai_compat/README.md").read_text()

    assert all(f"`{preset}`" in text for preset in PRESETS)


def test_ci_runs_the_readmes_test_commands():
    text = (ROOT / "README.md").read_text()
    told = [
        command for line in re.findall(r"^    (.*\bpytest\b.*)$", text, re.MULTILINE) for command in line.split(" && ")
    ]

    assert told == ["pip install uv", "uv run pytest", "uv run pytest -m slow"]
    assert (ROOT / ".ci/run").read_text().replace(" --quiet", "").splitlines()[-3:] == told


# --- The tutorial ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """The plugin of docs/writing-a-plugin.md: its source and where its wheel was installed."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv")
    source, site = tmp_path_factory.mktemp("parrot"), tmp_path_factory.mktemp("site")
    text = (DOCS / "writing-a-plugin.md").read_text()
    for name, content in re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(site)]
    subprocess.run([*install, str(source)], check=True, capture_output=True)
    return source, site


@pytest.mark.slow
async def test_the_tutorials_plugin_shows_in_plugins(parrot, tmp_path):
    variables = {"PYTHONPATH": str(parrot[1]), "PARROT_API_BASE": "http://127.0.0.1:1"}

    code, output = await run(tmp_path, "plugins", "--json", **variables)
    plugin = next(p for p in json.loads(output)["plugins"] if p["name"] == "parrot")

    assert code == 0
    assert (plugin["state"], plugin["distribution"], plugin["version"]) == ("active", "proxy-plugin-parrot", "0.1.0")
    assert set(plugin["hooks"]) == {"proxy_providers", "proxy_sanitizers"}


@pytest.mark.slow
async def test_the_tutorials_plugin_without_its_setting_is_skipped_with_a_reason(parrot, tmp_path):
    _, output = await run(tmp_path, "plugins", PYTHONPATH=str(parrot[1]))

    assert "providers.parrot.base_url is required" in output


@pytest.mark.slow
def test_the_tutorials_tests_pass(parrot):
    source, site = parrot
    environ = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "anyio_mode=auto", "-p", "no:cacheprovider", "tests"]

    done = subprocess.run(command, cwd=source, env=environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
