"""Templates: escaped by default, and strict about names that do not exist."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from proxy_plugin_dashboard import words
from proxy_plugin_dashboard.static_files import asset


def rendered(template: str, values: Mapping[str, object]) -> str:
    """A whole page, or a fragment that is a template of its own."""
    return _environment().get_template(template).render(values)


def rendered_blocks(template: str, names: tuple[str, ...], values: Mapping[str, object]) -> Mapping[str, str]:
    """Some blocks of a template: what a live feed sends."""
    found = _environment().get_template(template)
    context = found.new_context(dict(values))
    return {name: "".join(found.blocks[name](context)) for name in names}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("proxy_plugin_dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(words.FILTERS)
    environment.globals["asset"] = asset
    # Not imported by each template: a block that is rendered alone does not see what its template imports.
    environment.globals["ui"] = environment.get_template("ui.html").module
    return environment
