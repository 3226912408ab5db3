"""Single Python files as installed plugins: an entry point for each, in a folder that Python searches for packages.

The core finds them as it finds every plugin, so it needs no other way to load code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

#: Runs the file as this module, so that tracebacks name the file. Files beside it can be imported unless an installed
#: module has their name: a plugin ``redis.py`` must not take the place of the library.
_MODULE = """\
import sys

__file__ = {file!r}
if {folder!r} not in sys.path:
    sys.path.append({folder!r})
with open(__file__, encoding="utf-8") as _file:
    _code = compile(_file.read(), __file__, "exec")
exec(_code)
"""
_NOTE = "proxy-core-plugins-dir.txt"
_METADATA = "Metadata-Version: 2.1\nName: {distribution}\nVersion: 0+dev\n"


class SingleFile(Struct, frozen=True):
    """A plugin in one file. ``name`` is that of its ``PLUGIN``, or the file's, where the file has none yet."""

    name: str
    file: Path


def single_files(folder: Path) -> list[SingleFile]:
    """The plugins in a folder: its ``*.py`` files, but not those whose names begin with an underscore or ``test_``."""
    files = [file for file in sorted(folder.glob("*.py")) if not file.name.startswith(("_", "test_", "conftest"))]
    return [SingleFile(_name(file), file.absolute()) for file in files]


def write_entry_points(plugins: Sequence[SingleFile], site: Path) -> None:
    """Make ``site`` a folder of packages with these plugins, and no others."""
    for left in [*site.glob("*.dist-info/*"), *site.glob("*.py")]:
        left.unlink()
    for left in site.glob("*.dist-info"):
        left.rmdir()
    for plugin in plugins:
        module = f"dev_{plugin.file.stem}"
        (site / f"{module}.py").write_text(
            _MODULE.format(file=str(plugin.file), folder=str(plugin.file.parent)), encoding="utf-8"
        )
        info = site / f"{module}-0+dev.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_METADATA.format(distribution=module.replace("_", "-")), encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[proxy_core.plugins]\n{plugin.name} = {module}\n", encoding="utf-8")


def note_folder(folder: Path, site: Path) -> None:
    """Say in ``site`` which folder the plugins are from."""
    (site / _NOTE).write_text(str(folder.absolute()), encoding="utf-8")


def noted_folder() -> Path | None:
    """The folder with single files whose plugins this process sees, if ``proxy-core dev`` has started it."""
    notes = (Path(place) / _NOTE for place in sys.path)
    return next((Path(note.read_text("utf-8")) for note in notes if note.is_file()), None)


def _name(file: Path) -> str:
    """Found without running the file, which may be half written."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return file.stem
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="PLUGIN")], value=ast.Call(keywords=keywords))
                | ast.AnnAssign(target=ast.Name(id="PLUGIN"), value=ast.Call(keywords=keywords))
            ):
                for keyword in keywords:
                    if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
    return file.stem
