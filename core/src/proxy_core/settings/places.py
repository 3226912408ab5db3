"""Where settings files lie, and which of them were merely found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import platformdirs

from proxy_core.errors import SettingsError

APP = "proxy-core"
FILE_NAME = "proxy-core.toml"
_CONFIG = "PROXY_CONFIG"


def config_file(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """``--config``, ``PROXY_CONFIG``, the working directory, the platform's configuration folder."""
    chosen = explicit or (Path(environ[_CONFIG]) if environ.get(_CONFIG) else None)
    if chosen is not None:
        if not chosen.is_file():
            raise SettingsError([f"no settings file at {chosen}"])
        return chosen
    return next((file for file in (cwd / FILE_NAME, user_file()) if file.is_file()), None)


def user_file() -> Path:
    """The settings file in the platform's configuration folder, whether there is one or not."""
    return platformdirs.user_config_path(APP) / FILE_NAME


def found_here(file: Path | None, explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> frozenset[Path]:
    """The settings files that were found in the working directory and not named by the user.

    Files in the user's own configuration folder do not count, even if it is the working directory.
    """
    own = {user_file().parent.resolve()}
    if file and (explicit or environ.get(_CONFIG)):
        own.add(file.parent.resolve())
    return frozenset(f for f in (cwd / ".env", cwd / FILE_NAME) if f.is_file() and f.parent.resolve() not in own)
