"""Which packages with plugins are installed, and what else Python reads when it starts; noted at each start.

A package's digest is that of its ``RECORD``, which has the hashes of its files: reading those would delay the start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from sysconfig import get_path

from msgspec import DecodeError, Struct, json
from msgspec.structs import replace

from proxy_core.files import private_folder, read_small, write_private
from proxy_core.plugins.loader import API_GROUP, GROUP, name_and_version
from proxy_core.settings.sources import GROUP as SOURCES_GROUP
from proxy_core.settings.sources import entry_points

_FILE = "last-start.json"
#: The version of a single file that ``proxy-core dev`` loads without installing it. A missing one was not removed.
_PASSING = "0+dev"


class Package(Struct, frozen=True):
    """An installed distribution with an entry point of ours."""

    version: str
    digest: str


class Inventory(Struct, frozen=True, kw_only=True):
    """``changes`` is what was new at that start, a line each."""

    at: datetime
    packages: Mapping[str, Package]
    #: By path: the hash of each file whose lines the interpreter reads, and partly runs, when it starts.
    path_files: Mapping[str, str]
    changes: Sequence[str] = ()


def distributions() -> dict[str, metadata.Distribution]:
    """Those that have an entry point for the proxy, by name; none of their code is run."""
    groups = (GROUP, API_GROUP, SOURCES_GROUP)
    found = [entry.dist for group in groups for entry in entry_points(group) if entry.dist is not None]
    return dict(sorted({name_and_version(dist)[0]: dist for dist in found}.items()))


def path_files() -> Iterator[Path]:
    """The ``.pth`` files of this interpreter."""
    site = sys.modules.get("site")
    users = [site.getusersitepackages()] if site is not None and site.ENABLE_USER_SITE else []
    for folder in dict.fromkeys([get_path("purelib"), get_path("platlib"), *users]):
        if os.path.isdir(folder):
            yield from sorted(Path(folder).glob("*.pth"))


def inventory(at: datetime) -> Inventory:
    """What is installed now."""
    return Inventory(
        at=at,
        packages={name: Package(name_and_version(d)[1], _digest(d)) for name, d in distributions().items()},
        path_files={str(file): sha256(file.read_bytes()).hexdigest() for file in path_files()},
    )


def _digest(distribution: metadata.Distribution) -> str:
    return sha256((distribution.read_text("RECORD") or "").encode()).hexdigest()


def differences(old: Inventory, new: Inventory) -> list[str]:
    """What changed from one to the other, a line each."""
    lines = [f"{name} {package.version} is new" for name, package in new.packages.items() if name not in old.packages]
    lines += [
        f"{name} {package.version} is gone"
        for name, package in old.packages.items()
        if name not in new.packages and package.version != _PASSING
    ]
    for name, package in new.packages.items():
        was = old.packages.get(name, package)
        if was.version != package.version:
            lines.append(f"{name} changed from {was.version} to {package.version}")
        elif was.digest != package.digest:
            lines.append(f"{name} {package.version} was installed again, with other files")
    lines += [f"{file} is new" for file in new.path_files if file not in old.path_files]
    lines += [f"{file} is gone" for file in old.path_files if file not in new.path_files]
    return lines + [f"{file} changed" for file, has in new.path_files.items() if old.path_files.get(file, has) != has]


def last_start(data_dir: Path) -> Inventory | None:
    """What the last start noted; ``None`` where there is no such note, or none that can be read."""
    try:
        return json.decode(read_small(data_dir / _FILE), type=Inventory)
    except (OSError, DecodeError):
        return None


def note_start(data_dir: Path, at: datetime) -> Sequence[str]:
    """Note what is installed. Returns what changed since the last start. Raises ``OSError``."""
    now, before = inventory(at), last_start(data_dir)
    changes = differences(before, now) if before is not None else []
    private_folder(data_dir)
    write_private(data_dir / _FILE, json.encode(replace(now, changes=changes)))
    return changes
