"""What commands of plugins may use: options and tables, the installation that they look at, and the proxy that runs.

The credentials themselves stay the core's: a command reads and changes them through its :class:`Vault`, which
locks files, keeps their modes, and writes before it forgets.
"""

from __future__ import annotations

from proxy_core.cli.common import printable, read_settings, settings_options, table
from proxy_core.cli.installation import (
    ALL_HOOKS,
    StartCheck,
    catalog_of,
    check_start,
    dry_run,
    fingerprints_of,
    lines_of,
    models_of,
    open_http,
    open_store,
    vault_of,
)
from proxy_core.cli.running_proxy import NotRunning, notify_running_proxy, processes, query, statuses
from proxy_core.credentials.environment import from_environment
from proxy_core.credentials.files import write_private
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.linked_files import read_foreign
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential, VaultProblem, digest
from proxy_core.credentials.vault import Vault
from proxy_core.plugins.loader import Plugin
from proxy_core.plugins.registry import Catalog
from proxy_core.runtime.destinations import address
from proxy_core.runtime.pools import rotations
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import (
    DELIMITER,
    PREFIX,
    LoadedSettings,
    load,
    load_nothing_but,
    secret_values,
)
from proxy_core.settings.variables import other_variables
from proxy_core.state.usage import COUNTED, summed

__all__ = [
    "ALL_HOOKS",
    "COUNTED",
    "DELIMITER",
    "PREFIX",
    "Catalog",
    "Fingerprints",
    "LoadedSettings",
    "NotRunning",
    "Plugin",
    "StartCheck",
    "StoredCredential",
    "Vault",
    "VaultProblem",
    "address",
    "catalog_of",
    "check_start",
    "digest",
    "dry_run",
    "environment_name",
    "fingerprints_of",
    "from_environment",
    "lines_of",
    "load",
    "load_nothing_but",
    "models_of",
    "notify_running_proxy",
    "open_http",
    "open_store",
    "other_variables",
    "printable",
    "processes",
    "query",
    "read_foreign",
    "read_settings",
    "refresh_once",
    "rotations",
    "secret_values",
    "settings_options",
    "statuses",
    "summed",
    "table",
    "vault_of",
    "write_private",
]
