"""What is known about an installed package without running any of its code: where it comes from, and its files."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from msgspec import Struct

#: Written by the installer, and different on each machine.
_INSTALLERS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})


class Files(Struct, frozen=True, kw_only=True):
    """The files of one package; paths are as in its ``RECORD``.

    ``hashes`` are those of the files as they are now. ``changed`` differ from what was installed, ``missing`` are gone,
    and ``unrecorded`` lie among its modules, but the record does not vouch for them.
    """

    hashes: Mapping[str, str]
    #: Its modules, with the times at which they were last changed, in seconds since 1970.
    modules: Mapping[str, float] = {}
    changed: Sequence[str] = ()
    missing: Sequence[str] = ()
    unrecorded: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """One hash of all paths and contents, the same on every machine."""
        return sha256("".join(f"{path} {has}\n" for path, has in sorted(self.hashes.items())).encode()).hexdigest()


def entry_point_names(distribution: metadata.Distribution) -> list[str]:
    """The names under which the proxy finds it."""
    return sorted({entry.name for entry in distribution.entry_points if entry.group.startswith("proxy_core.")})


def origin(distribution: metadata.Distribution) -> str:
    """Where it was installed from, as its installer noted it."""
    if distribution.version == "0+dev":
        return "a file that proxy-core dev runs"
    installer = (distribution.read_text("INSTALLER") or "").strip() or "an unknown installer"
    try:
        direct: Any = json.loads(distribution.read_text("direct_url.json") or "null")
        if direct is None:
            return f"an index, by {installer}"
        if direct.get("dir_info", {}).get("editable"):
            return f"editable: {direct['url']}"
        commit = direct.get("vcs_info", {}).get("commit_id", "")
        return f"{direct['url']}{' at ' + commit[:12] if commit else ''}"
    except (ValueError, KeyError, AttributeError):
        return "a direct_url.json that cannot be read"


def files_of(distribution: metadata.Distribution) -> Files:
    """Compare its files with what was installed. What is installed as editable has its modules elsewhere."""
    hashes: dict[str, str] = {}
    changed, missing, unrecorded = [], [], []
    installed = {}
    for path, recorded in _recorded(distribution):
        if not _is_portable(path):
            continue
        place = installed[path] = Path(str(distribution.locate_file(path))).resolve()
        content = _read(place)
        if content is None:
            missing.append(path)
            continue
        hashes[path] = sha256(content).hexdigest()
        if not recorded:
            unrecorded.append(path)
        elif _differs(content, recorded):
            changed.append(path)
    modules: dict[str, float] = {}
    for root in _module_roots(distribution):
        below = dict(_modules_below(root))
        others = {path: file for path, file in below.items() if file not in installed.values()}
        hashes |= {path: sha256(_read(file) or b"").hexdigest() for path, file in others.items()}
        modules |= {path: file.stat().st_mtime for path, file in below.items()}
        if len(others) < len(below):
            unrecorded += others
    return Files(hashes=hashes, modules=modules, changed=changed, missing=missing, unrecorded=unrecorded)


def _recorded(distribution: metadata.Distribution) -> Iterator[tuple[str, str]]:
    """Each file of its ``RECORD``, with its hash. ``Distribution.files`` lacks missing ones since Python 3.12."""
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if len(row) > 1:
            yield row[0], row[1]


def _module_roots(distribution: metadata.Distribution) -> Iterator[Path]:
    """Where its entry points lead: folders of packages, or single files."""
    for top in sorted({entry.module.partition(".")[0] for entry in distribution.entry_points}):
        spec = PathFinder.find_spec(top, sys.path)
        if spec is not None:
            places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
            yield from (Path(place).resolve() for place in places if place)


def _modules_below(root: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(root.parent).as_posix(), file.resolve()


def _is_portable(path: str) -> bool:
    """Not a script, whose first line is of this machine, nor what Python compiles, nor the installer's notes."""
    return (
        not path.startswith(("../", "/")) and "__pycache__" not in path and path.rpartition("/")[2] not in _INSTALLERS
    )


def _differs(content: bytes, recorded: str) -> bool:
    """``recorded`` is the name of an algorithm and a digest: ``sha256=...``."""
    algorithm, _, value = recorded.partition("=")
    try:
        digest = hashlib.new(algorithm, content).digest()
    except ValueError:
        return True
    return urlsafe_b64encode(digest).rstrip(b"=").decode() != value


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
