"""The hook specifications are their own manual."""

import inspect

import pytest

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
    import proxy_core

    parts = proxy_core.interfaces.__all__, proxy_core.messages.__all__
    own = proxy_core.__all__[: -sum(map(len, parts))]

    assert proxy_core.__all__ == [*own, *parts[0], *parts[1]]
    assert all(list(names) == sorted(names) for names in (own, *parts))
    assert len(set(proxy_core.__all__)) == len(proxy_core.__all__)
    assert all(hasattr(proxy_core, name) for name in proxy_core.__all__)
