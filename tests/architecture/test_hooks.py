"""The hook specifications are their own manual."""

import importlib
import inspect
import pkgutil

import pytest

import proxy_core.api
from proxy_core import hookspecs
from proxy_core.plugins.loader import HOOKS

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
