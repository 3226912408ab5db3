"""The hook specifications are their own manual."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import proxy_core.api
from proxy_core import hookspecs
from proxy_core.plugins.loader import HOOKS

ROOT = Path(__file__).parents[2]
SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("proxy_")}


def test_every_specification_is_called():
    assert set(SPECS) == set(HOOKS)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_specification_is_typed_and_says_what_an_author_needs(spec):
    signature = inspect.signature(spec)

    assert list(signature.parameters) == ["ctx"]
    assert signature.parameters["ctx"].annotation == "PluginContext"
    assert signature.return_annotation.startswith("Iterable[")
    for word in ("Returns:", "Raises:", "Order:", "Since: API "):
        assert word in spec.__doc__, word


def test_the_authors_api_is_sorted_and_complete():
    """Each module of what crosses the boundary lists its names, and the root has each of them once."""
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for package in (proxy_core.interfaces, proxy_core.messages)
        for found in pkgutil.iter_modules(package.__path__)
    ]
    listed = [name for module in modules for name in module.__all__]
    public = [name for name, value in vars(proxy_core.api).items() if name[0] != "_" and not inspect.ismodule(value)]

    assert all(list(module.__all__) == sorted(module.__all__) for module in modules)
    assert len(set(listed)) == len(listed)
    assert set(listed) <= set(public)
    assert all(getattr(proxy_core, name) is getattr(module, name) for module in modules for name in module.__all__)


KITS = {
    "proxy_providers": "ProviderContract|ProviderConformance",
    "proxy_sanitizers": "SanitizerConformance",
    "proxy_redactors": "RedactorConformance",
    "proxy_credential_refreshers": "RefresherConformance",
    "proxy_log_sinks": "LogSinkConformance",
    "proxy_dialects": "DialectConformance",
    "proxy_state_stores": "StateStoreContract",
}
BRINGS = [
    (hook, folder.name)
    for folder in sorted(ROOT.glob("plugins/*"))
    for hook in KITS
    if any(f"\ndef {hook}(" in file.read_text() for file in folder.glob("src/*/__init__.py"))
]


@pytest.mark.parametrize(("hook", "plugin"), BRINGS)
def test_what_a_plugin_brings_passes_the_kit_of_its_kind(hook, plugin):
    tests = "\n".join(file.read_text() for file in ROOT.glob(f"plugins/{plugin}/tests/test_*.py"))

    assert re.search(rf"^class Test\w+\(({KITS[hook]})\):", tests, re.MULTILINE)
