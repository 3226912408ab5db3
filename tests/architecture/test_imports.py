"""Imports flow down, and each library has one home."""

import ast
from functools import cache
from pathlib import Path

import grimp
import pytest

CORE = Path(__file__).parents[2] / "core" / "src" / "proxy_core"

#: Highest first; a package imports only from layers below its own.
LAYERS = [
    "__main__",
    "cli",
    "runtime",
    "server",
    "pipeline",
    "status",
    "state",
    "models",
    "records",
    "credentials",
    "rotation|network",
    "plugins",
    "hookspecs|oauth",
    "dialects|failures",
    "interfaces",
    "settings",
    "messages:errors:sse:clock:stash:version",
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


def _family(module):
    """``openai_chat_decode`` is of ``openai_chat``, ``gemini_decode`` of ``gemini``."""
    return "_".join(module.split("_")[: 2 if module.startswith("openai") else 1])


def test_no_dialect_imports_another(graph):
    formats = {m for m in graph.find_children("proxy_core.dialects") if not m.endswith("common")}
    families = {m: _family(m.removeprefix("proxy_core.dialects.")) for m in formats}
    crossing = [
        f"{importer} -> {imported}"
        for importer in formats
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported in formats and families[imported] != families[importer]
    ]

    assert crossing == []


def test_nothing_but_tests_imports_the_testing_kit(graph):
    importers = graph.find_modules_that_directly_import("proxy_core.testing")

    assert [m for m in importers if not m.startswith("proxy_core.testing")] == []


HOMES = {
    "httpx": {"network/", "server/control_socket.py"},
    "aiohttp": {"network/"},
    "httpx_aiohttp": {"network/"},
    "starlette": {"server/", "runtime/"},
    "hypercorn": {"server/", "cli/serve.py"},
    "pluggy": {"hookspecs.py", "plugins/"},
    "sqlite3": {"state/sqlite.py", "state/sqlite_file.py"},
    "click": {"cli/", "hookspecs.py"},
    "dotenv": {"settings/"},
    "platformdirs": {"settings/"},
    "pydantic_settings": {"settings/"},
    "prometheus_client": set(),
    "oauthlib": {"oauth/"},
    "segno": {"oauth/qr.py"},
    "filelock": {"credentials/locks.py"},
    "litellm": set(),
    "subprocess": set(),
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
    legacy = {m for m in graph.find_children("proxy_core.settings") if m.rpartition(".")[2].startswith("legacy_")}
    importers = {i for module in legacy for i in graph.find_modules_that_directly_import(module)}

    assert legacy
    assert importers - legacy == {"proxy_core.settings.loading"}


def test_only_the_loader_reads_the_environment():
    readers = [f.relative_to(CORE).as_posix() for f in CORE.rglob("*.py") if "os.environ" in f.read_text()]

    assert [r for r in readers if not r.startswith("testing/")] == ["settings/loading.py"]
