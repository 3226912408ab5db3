"""Stored credentials for tests of logins: the vault, its content, and ways to add credentials without a login."""

from proxy_core.credentials.environment import from_environment
from proxy_core.credentials.linked_files import read_foreign
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault

__all__ = ["StoredCredential", "Vault", "from_environment", "read_foreign", "refresh_once"]
