"""The documentation site. Build it with ``uv run --group docs sphinx-build -W --keep-going docs build/site``."""

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
#: Where readers of the site find the files of the repository that are no pages of it.
SOURCE = "https://github.com/proxy-core/proxy-core/blob/main"

project = "proxy-core"
author = "proxy-core contributors"
project_copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "proxy-core"
exclude_patterns = ["README.md"]
myst_heading_anchors = 4
suppress_warnings = ["myst.strikethrough"]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
autodoc_preserve_defaults = True
#: Code in docstrings is written in double backticks; single ones are used in other pages' prose.
default_role = "code"


def link_to_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Pages also have to work where they lie, so they link to other files of the repository by relative paths."""
    folder = (ROOT / "docs" / docname).parent

    def absolute(match: re.Match[str]) -> str:
        path, _, anchor = match[1].partition("#")
        file = (folder / path).resolve()
        if not path or file.is_relative_to(ROOT / "docs"):
            return match[0]
        return f"]({SOURCE}/{file.relative_to(ROOT)}{'#' + anchor if anchor else ''})"

    source[0] = re.sub(r"\]\((?!https?:)([^)\s]*)\)", absolute, source[0])


def labels_as_fields(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """``When: ...`` in the docstring of a hook becomes a field."""
    if name.startswith("proxy_core.hookspecs.proxy_"):
        lines[:] = [re.sub(r"^([A-Z][a-z]+): ", r":\1: ", line) for line in lines]


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_to_source)
    app.connect("autodoc-process-docstring", labels_as_fields)
