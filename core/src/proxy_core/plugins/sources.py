"""The text of plugins that cannot be imported, or must not be: what they are can still be read in it."""

from __future__ import annotations

import re
import sys
from ast import literal_eval
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

#: A module that only runs a file from elsewhere says so: a plugin that is one loose file, under ``proxy-core dev``.
_RUNS = re.compile(r"^__file__ = ('.*'|\".*\")$", re.MULTILINE)
_NAME = re.compile(r"""\b(?:PluginInfo|Provider)\([^()]*?\bname\s*=\s*["']([\w.-]+)["']""")
_PROVIDERS = re.compile(r"""\bPluginInfo\([^()]*?\bproviders\s*=\s*[\[(]([^\])]*)[\])]""")
_TEXT = re.compile(r"""["']([\w.-]+)["']""")


def source(module: str) -> str | None:
    """The text of all files if it is a package, of the loose file if it runs one; ``None`` if it is not found."""
    with suppress(Exception):  # a finder may fail in any way
        text = "\n".join(path.read_text("utf-8") for path in _files(module))
        return Path(file).read_text("utf-8") if (file := _run_by(text)) else text
    return None


def loose_file(module: str) -> str:
    """The name of the file that a plugin consists of, which is no package that can be uninstalled; else empty."""
    if (known := sys.modules.get(module)) is not None:
        file, spec = getattr(known, "__file__", None), getattr(known, "__spec__", None)
        return Path(file).name if file and spec is not None and file != spec.origin else ""
    with suppress(Exception):
        return Path(_run_by("\n".join(path.read_text("utf-8") for path in _files(module)))).name
    return ""


def claimed_names(module: str) -> set[str]:
    """The plugin's name and its providers', as far as they are written out."""
    text = source(module) or ""
    listed = {name for names in _PROVIDERS.findall(text) for name in _TEXT.findall(names)}
    return {*_NAME.findall(text), *listed}


def _run_by(text: str) -> str:
    found = _RUNS.search(text)
    return str(literal_eval(found[1])) if found else ""


def _files(module: str) -> list[Path]:
    root, *rest = module.split(".")
    spec = find_spec(root)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    place = Path(spec.origin)
    inner = place.parent.joinpath(*rest) if rest or place.name == "__init__.py" else place
    return sorted(inner.rglob("*.py")) if inner.is_dir() else [inner.with_suffix(".py")]
