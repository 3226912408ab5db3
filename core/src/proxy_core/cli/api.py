"""What commands of plugins may use: options and tables, the installation that they look at, and the proxy that runs.

The credentials themselves stay the core's: a command reads and changes them through its :class:`Vault`, which
locks files, keeps their modes, and writes before it forgets.
"""

from proxy_core.cli.common import printable as printable
from proxy_core.cli.common import read_settings as read_settings
from proxy_core.cli.common import settings_options as settings_options
from proxy_core.cli.common import table as table
from proxy_core.cli.installation import StartCheck as StartCheck
from proxy_core.cli.installation import catalog_of as catalog_of
from proxy_core.cli.installation import check_start as check_start
from proxy_core.cli.installation import dry_run as dry_run
from proxy_core.cli.installation import fingerprints_of as fingerprints_of
from proxy_core.cli.installation import lines_of as lines_of
from proxy_core.cli.installation import models_of as models_of
from proxy_core.cli.installation import open_http as open_http
from proxy_core.cli.installation import open_store as open_store
from proxy_core.cli.installation import unknown_models as unknown_models
from proxy_core.cli.installation import vault_of as vault_of
from proxy_core.cli.running_proxy import NotRunning as NotRunning
from proxy_core.cli.running_proxy import notify_running_proxy as notify_running_proxy
from proxy_core.cli.running_proxy import processes as processes
from proxy_core.cli.running_proxy import query as query
from proxy_core.cli.running_proxy import reload_running_proxy as reload_running_proxy
from proxy_core.cli.running_proxy import statuses as statuses
from proxy_core.credentials.encryption import KEYRING as KEYRING
from proxy_core.credentials.encryption import Encryption as Encryption
from proxy_core.credentials.environment import from_environment as from_environment
from proxy_core.credentials.fingerprint import Fingerprints as Fingerprints
from proxy_core.credentials.given import check_tokens as check_tokens
from proxy_core.credentials.linked_files import read_foreign as read_foreign
from proxy_core.credentials.refresh import refresh_once as refresh_once
from proxy_core.credentials.stored import LockedFile as LockedFile
from proxy_core.credentials.stored import StoredCredential as StoredCredential
from proxy_core.credentials.stored import VaultProblem as VaultProblem
from proxy_core.credentials.stored import digest as digest
from proxy_core.credentials.vault import Vault as Vault
from proxy_core.files import private_folder as private_folder
from proxy_core.files import read_small as read_small
from proxy_core.files import write_private as write_private
from proxy_core.plugins.inventory import Inventory as Inventory
from proxy_core.plugins.inventory import differences as differences
from proxy_core.plugins.inventory import distributions as distributions
from proxy_core.plugins.inventory import inventory as inventory
from proxy_core.plugins.inventory import last_start as last_start
from proxy_core.plugins.inventory import path_files as path_files
from proxy_core.plugins.loader import HOOKS as HOOKS
from proxy_core.plugins.plugin import Plugin as Plugin
from proxy_core.plugins.registry import Catalog as Catalog
from proxy_core.plugins.trace import changed_fields as changed_fields
from proxy_core.runtime.advice import to_mend as to_mend
from proxy_core.runtime.destinations import address as address
from proxy_core.runtime.reload import needs_restart as needs_restart
from proxy_core.settings.base import environment_name as environment_name
from proxy_core.settings.loading import LoadedSettings as LoadedSettings
from proxy_core.settings.loading import load as load
from proxy_core.settings.loading import load_nothing_but as load_nothing_but
from proxy_core.settings.pasted import decoded as decoded
from proxy_core.settings.pasted import read_toml as read_toml
from proxy_core.settings.places import user_file as user_file
from proxy_core.settings.secrets import secret_values as secret_values
from proxy_core.settings.tables import DELIMITER as DELIMITER
from proxy_core.settings.tables import PREFIX as PREFIX
from proxy_core.settings.variables import other_variables as other_variables
from proxy_core.state.usage import COUNTED as COUNTED
from proxy_core.state.usage import summed as summed
