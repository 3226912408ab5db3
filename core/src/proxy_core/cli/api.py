"""What commands of plugins may use: options and tables, the accounts there are, and the proxy that runs.

The credentials themselves stay the core's: a command reads and changes them through :class:`Accounts`
and its ``vault``, which locks files, keeps their modes, and writes before it forgets.
"""

from __future__ import annotations

from proxy_core.cli.accounts import API_KEY, Account, Accounts, checked_name, file_error, open_accounts
from proxy_core.cli.common import printable, settings_options, table
from proxy_core.cli.running_proxy import notify_running_proxy
from proxy_core.credentials.files import write_private
from proxy_core.credentials.linked_files import read_foreign
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential, VaultProblem, digest
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import LoadedSettings, other_variables, secret_values

__all__ = [
    "API_KEY",
    "Account",
    "Accounts",
    "LoadedSettings",
    "StoredCredential",
    "VaultProblem",
    "checked_name",
    "digest",
    "environment_name",
    "file_error",
    "notify_running_proxy",
    "open_accounts",
    "other_variables",
    "printable",
    "read_foreign",
    "refresh_once",
    "secret_values",
    "settings_options",
    "table",
    "write_private",
]
