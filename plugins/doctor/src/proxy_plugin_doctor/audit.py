"""``proxy-core plugins audit``: which packages bring plugins, and whether they are what they were."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.machinery import PathFinder
from importlib.metadata import distributions as all_distributions
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from proxy_core import SettingsError
from proxy_core.cli.api import (
    differences,
    distributions,
    inventory,
    last_start,
    load,
    path_files,
    printable,
    read_small,
    table,
    write_private,
)
from proxy_plugin_doctor.packages import Files, entry_point_names, files_of, origin

_LOCK = "plugins.lock"
#: Modules that Python imports when it starts, if there are any.
_AT_START = ("sitecustomize", "usercustomize")


class Locked(Struct, frozen=True):
    """One package in a lock."""

    version: str
    sha256: str


class Lock(Struct, frozen=True, kw_only=True):
    """What is meant to be installed. ``path_files`` are hashes by file name."""

    packages: Mapping[str, Locked]
    path_files: Mapping[str, str] = {}


class Package(Struct, frozen=True, kw_only=True):
    """An installed package that brings plugins."""

    name: str
    version: str
    plugins: Sequence[str]
    origin: str
    files: Files


class PathFile(Struct, frozen=True, kw_only=True):
    """A file that Python reads when it starts; ``package`` brought it, if any did."""

    file: str
    package: str
    sha256: str
    runs_code: bool


@click.command("audit")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; its data folder has the lock.")
@click.option("--lock", "lock_file", type=click.Path(path_type=Path), help="The lock to compare with, or to record.")
@click.option("--record", is_flag=True, help="Record what is installed now as the lock.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(config: Path | None, lock_file: Path | None, record: bool, as_json: bool) -> None:
    """Show which packages bring plugins, and whether their files are as installed, as locked, as at the last start.

    None of their code is run. The exit code is 1 if a file or a package is not what it should be.
    """
    data_dir = load(config, overrides={"plugins": {"allowed": []}}).data_dir
    lock_file = lock_file or data_dir / _LOCK
    packages, started = list(_packages()), list(_path_files())
    now = _lock_of(packages, started)
    if record:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        write_private(lock_file, msgspec.json.format(msgspec.json.encode(now)) + b"\n", 0o644)
    lock = _read_lock(lock_file)
    problems = [line for package in packages for line in _altered(package)]
    problems += _unlike(lock, now) if lock is not None else []
    changes = list(_since_the_last_start(data_dir, packages))
    if as_json:
        found = {"packages": packages, "path_files": started, "lock": lock, "changes": changes, "problems": problems}
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        _print(packages, started, changes, problems)
        click.echo(_about(lock_file, lock, record))
    if problems:
        raise SystemExit(1)


# --- What is there -----------------------------------------------------------------------


def _packages() -> Iterator[Package]:
    for name, distribution in distributions().items():
        yield Package(
            name=name,
            version=distribution.version,
            plugins=entry_point_names(distribution),
            origin=origin(distribution),
            files=files_of(distribution),
        )


def _path_files() -> Iterator[PathFile]:
    owners = {
        Path(str(file.locate())).resolve(): distribution.name
        for distribution in all_distributions()
        if ".pth" in (distribution.read_text("RECORD") or ".pth")  # without it, other lists of files have to be read
        for file in distribution.files or ()
        if str(file).endswith(".pth")
    }
    for file in path_files():
        content = file.read_bytes()
        yield PathFile(
            file=str(file),
            package=owners.get(file.resolve(), ""),
            sha256=sha256(content).hexdigest(),
            runs_code=any(line.startswith((b"import ", b"import\t")) for line in content.splitlines()),
        )
    for name in _AT_START:
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.origin is not None:
            content = Path(spec.origin).read_bytes()
            yield PathFile(file=spec.origin, package="", sha256=sha256(content).hexdigest(), runs_code=True)


# --- What differs ------------------------------------------------------------------------


def _altered(package: Package) -> Iterator[str]:
    kinds = {
        "changed since they were installed": package.files.changed,
        "missing": package.files.missing,
        "not in the record of what was installed": package.files.unrecorded,
    }
    for what, paths in kinds.items():
        if paths:
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            yield f"{package.name} has files that are {what}: {', '.join(paths[:5])}{more}"


def _lock_of(packages: Sequence[Package], started: Sequence[PathFile]) -> Lock:
    return Lock(
        packages={p.name: Locked(p.version, p.files.digest) for p in packages},
        path_files={Path(f.file).name: f.sha256 for f in started},
    )


def _read_lock(file: Path) -> Lock | None:
    try:
        return msgspec.json.decode(read_small(file), type=Lock)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise SettingsError([f"{file} is no lock that `proxy-core plugins audit --record` wrote: {error}"]) from error


def _unlike(lock: Lock, now: Lock) -> Iterator[str]:
    for name in sorted({*lock.packages, *now.packages}):
        old, new = lock.packages.get(name), now.packages.get(name)
        if old is None or new is None:
            yield f"{name} is {'locked, but not installed' if new is None else 'installed, but not in the lock'}"
        elif old.version != new.version:
            yield f"{name} is {new.version}, the lock has {old.version}"
        elif old.sha256 != new.sha256:
            yield f"{name} {new.version} has other files than the lock"
    for name in sorted({*lock.path_files, *now.path_files}):
        hashes = lock.path_files.get(name), now.path_files.get(name)
        if hashes[0] != hashes[1]:
            yield f"{name} {'is not in the lock' if not hashes[0] else 'is gone' if not hashes[1] else 'has changed'}"


def _since_the_last_start(data_dir: Path, packages: Sequence[Package]) -> Iterator[str]:
    last = last_start(data_dir)
    if last is None:
        yield "no start of the proxy has noted what was installed"
        return
    when = last.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    yield from (f"at the last start, {when}: {line}" for line in last.changes)
    new = differences(last, inventory(datetime.now(UTC)))
    new += [
        f"{package.name} has edited files: {', '.join(e)}" for package in packages if (e := _edited(package, last.at))
    ]
    yield from (f"since the last start, {when}: {line}" for line in new)
    if not new:
        yield f"nothing changed since the last start, {when}"


def _edited(package: Package, since: datetime) -> list[str]:
    """Files of what is installed as editable, which nothing else watches."""
    if not package.origin.startswith("editable"):
        return []
    return [path for path, at in package.files.modules.items() if at > since.timestamp()]


# --- Output ------------------------------------------------------------------------------


def _print(
    packages: Sequence[Package], started: Sequence[PathFile], changes: Sequence[str], problems: Sequence[str]
) -> None:
    of_packages = [
        (p.name, p.version, ", ".join(p.plugins), str(len(p.files.hashes)), p.files.digest[:12], p.origin)
        for p in packages
    ]
    click.echo(table(("package", "version", "plugins", "files", "sha256", "from"), of_packages))
    of_start = [(f.file, f.package or "none", "yes" if f.runs_code else "no", f.sha256[:12]) for f in started]
    if of_start:
        click.echo("\n" + table(("read by Python at its start", "of package", "runs code", "sha256"), of_start))
    click.echo()
    for line in changes:
        click.echo(printable(line))
    for line in problems:
        click.echo(f"problem: {printable(line)}")


def _about(file: Path, lock: Lock | None, recorded: bool) -> str:
    if recorded:
        return f"recorded in {file}"
    if lock is None:
        return f"there is no lock to compare with; `proxy-core plugins audit --record` writes {file}"
    return f"compared with the lock {file}"
