"""Stored credentials for tests of logins: the vault, its content, ways to add credentials without a login, and how a
pool's credentials stand (``described``)."""

from proxy_core.credentials.environment import from_environment
from proxy_core.credentials.linked_files import read_foreign
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.rotation.explain import described

__all__ = ["StoredCredential", "Vault", "described", "from_environment", "read_foreign", "refresh_once"]
