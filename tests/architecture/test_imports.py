"""Imports flow down, and each library has one home."""

import ast
import re
from functools import cache
from inspect import ismodule
from pathlib import Path

import grimp
import pytest

import proxy_core.api

CORE = Path(__file__).parents[2] / "core" / "src" / "proxy_core"

#: Highest first; a package imports only from layers below its own.
LAYERS = [
    "__main__",
    "cli",
    "runtime",
    "server",
    "api",
    "pipeline",
    "status",
    "state",
    "models",
    "credentials",
    "records",
    "rotation|network",
    "plugins",
    "hookspecs",
    "dialects|failures",
    "interfaces",
    "settings",
    "messages:errors:files:jsons:sse:ndjson:clock:version",
]


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("proxy_core", exclude_type_checking_imports=True, cache_dir=None)


def test_imports_flow_down(graph):
    layers = []
    for line in LAYERS:
        names = line.replace("|", ":").split(":")
        layers.append(grimp.Layer(*names, independent=False))

    broken = graph.find_illegal_dependencies_for_layers(layers=tuple(layers), containers={"proxy_core"})

    assert [f"{chain.importer} -> {chain.imported}" for chain in broken] == []


def test_every_module_has_a_layer():
    named = {name for line in LAYERS for name in line.replace("|", ":").split(":")} | {"testing"}
    # A folder that holds nothing but what Python compiled was left behind by an older checkout.
    there = {
        p.stem for p in CORE.iterdir() if p.stem not in ("__init__", "py") and (p.is_file() or any(p.glob("*.py")))
    }

    assert there == named


def test_the_dialects_of_the_core_are_openais(graph):
    """Its formats share errors and usage, so they may import each other; another vendor's is a plugin's."""
    modules = {m.removeprefix("proxy_core.dialects.") for m in graph.find_children("proxy_core.dialects")}

    assert {m for m in modules if not m.startswith("openai_")} == {"common", "model_name", "shapes", "text_events"}


#: What plugins and their tests may import of the core, whole or a name of it.
PUBLIC = re.compile(r"proxy_core(\.(sse|jsons|cli\.api|dialects(\.\w+)?))?")
#: Besides, in tests and in kits for tests.
TESTING = re.compile(r"proxy_core\.testing(\.\w+)*")


def _imported(file):
    """``(module, names)`` of each import, those within texts that tests run included."""
    text = file.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((module, ()) for module in re.findall(r"^(?:from|import) (proxy_core[\w.]*)", node.value, re.M))


PLUGINS = Path(__file__).parents[2] / "plugins"


def _public(module, names):
    """Of the root only what it exports by name, and the modules that are public themselves."""
    exported = {name for name, value in vars(proxy_core.api).items() if name[0] != "_" and not ismodule(value)}
    exported |= {"dialects", "jsons", "sse"}
    return PUBLIC.fullmatch(module) is not None and (module != "proxy_core" or exported.issuperset(names))


@pytest.mark.parametrize("plugin", sorted(p.name for p in PLUGINS.iterdir() if p.is_dir()))
def test_a_plugin_and_its_tests_import_nothing_but_the_public_api(plugin):
    strangers = []
    for file in sorted((PLUGINS / plugin).rglob("*.py")):
        tests = bool({"tests", "testing"} & set(file.relative_to(PLUGINS / plugin).with_suffix("").parts))
        strangers += [
            f"{file.relative_to(PLUGINS)}: {module} {', '.join(names)}"
            for module, names in _imported(file)
            if module.partition(".")[0] == "proxy_core"
            if not (_public(module, names) or (tests and TESTING.fullmatch(module)))
        ]

    assert strangers == []


@pytest.mark.parametrize("plugin", sorted(p.name for p in PLUGINS.iterdir() if p.is_dir()))
def test_a_plugin_imports_of_another_only_what_that_exports(plugin):
    """And its kit for tests in tests. A test may look into its own plugin."""
    strangers = [
        f"{file.relative_to(PLUGINS)}: {module}"
        for file in sorted((PLUGINS / plugin / "src").rglob("*.py"))
        for module, _ in _imported(file)
        if (found := re.fullmatch(r"proxy_plugin_(\w+)((?:\.\w+)*)", module)) and found[1] != plugin
        if found[2] and not found[2].startswith(".testing")
    ]

    assert strangers == []


def test_nothing_but_tests_imports_the_testing_kit(graph):
    importers = graph.find_modules_that_directly_import("proxy_core.testing")

    assert [m for m in importers if not m.startswith("proxy_core.testing")] == []


HOMES = {
    "httpx": {"network/", "server/control_socket.py"},
    "aiohttp": {"network/"},
    "idna": {"network/addresses.py"},
    "httpx_aiohttp": set(),
    "starlette": {"server/", "runtime/"},
    "hypercorn": {"server/hypercorn.py", "server/hypercorn_fixes.py"},
    "uvicorn": set(),
    "httptools": set(),
    "granian": set(),
    "pluggy": {"hookspecs.py", "plugins/"},
    "sqlite3": {"state/sqlite.py", "state/sqlite_file.py"},
    "click": {"cli/", "hookspecs.py"},
    "dotenv": {"settings/"},
    "platformdirs": {"settings/"},
    "pydantic_settings": {"settings/"},
    "prometheus_client": set(),
    "oauthlib": set(),
    "segno": set(),
    "filelock": {"credentials/locks.py"},
    "litellm": set(),
    "subprocess": set(),
    "cryptography": {"credentials/encryption.py"},
    "keyring": {"credentials/encryption.py"},
}


@cache
def imports_of(file):
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(("library", "homes"), HOMES.items())
def test_each_library_has_one_home(library, homes):
    users = [f.relative_to(CORE).as_posix() for f in CORE.rglob("*.py") if library in imports_of(f)]
    strangers = [u for u in users if not u.startswith(("testing/", *homes))]

    assert strangers == []


def test_nothing_but_the_loader_knows_the_names_of_the_system_we_replace(graph):
    importers = graph.find_modules_that_directly_import("proxy_core.settings.legacy_names")

    assert importers == {"proxy_core.settings.loading"}


def test_only_the_loader_reads_the_environment():
    readers = [f.relative_to(CORE).as_posix() for f in CORE.rglob("*.py") if "os.environ" in f.read_text()]

    assert [r for r in readers if not r.startswith("testing/")] == ["settings/loading.py"]
