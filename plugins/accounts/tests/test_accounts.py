"""What is known of credentials from all sources."""

from pydantic import SecretStr

from proxy_core.cli.api import StoredCredential, catalog_of, fingerprints_of, load, vault_of
from proxy_plugin_accounts import Accounts


def stored(name, identity):
    tokens = {"access_token": SecretStr("at-0"), "refresh_token": SecretStr("rt-0")}
    return StoredCredential(provider="example", name=name, kind="example_oauth", identity=identity, **tokens)


def test_duplicates_are_reported_not_dropped(tmp_path):
    loaded = load(environ={"PROXY_DATA_DIR": str(tmp_path), "PROXY_STATE__SECRET": "a-state-secret"}, cwd=tmp_path)
    catalog = catalog_of(loaded, [])
    vault = vault_of(loaded, catalog)
    for name, identity in (("a", "x@example.com"), ("b", "x@example.com"), ("c", None), ("d", None)):
        vault.add(stored(name, identity))
    vault.add(stored("e", "y@example.com"))
    accounts = Accounts(loaded=loaded, catalog=catalog, vault=vault, fingerprint=fingerprints_of(loaded))

    found = {account.name: account.same_as for account in accounts.of("example")}

    assert found == {"a": "", "b": "a", "c": "", "d": "c", "e": ""}
    assert len(vault.all("example")) == 5
