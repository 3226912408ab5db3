"""What is known of credentials from all sources."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from proxy_core.cli.api import StoredCredential, catalog_of, fingerprints_of, load, vault_of
from proxy_plugin_accounts import Accounts
from proxy_plugin_accounts.accounts import Account
from proxy_plugin_accounts.credentials import _listed, described


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


@pytest.mark.parametrize(("expires_at", "shown"), [(0, None), (None, None), (1e9, "2001-09-09")])
def test_an_expiry_that_is_not_known_is_not_shown_as_a_date(expires_at, shown):
    moment = datetime.fromtimestamp(expires_at, UTC) if expires_at is not None else None
    login = StoredCredential(
        provider="example", name="a", kind="k", access_token=SecretStr("at"), refresh_token=None, expires_at=moment
    )
    account = Account(
        provider="example", name="a", id="i", kind="k", place="p", source="file", state="ok", why="", stored=login
    )

    listed, said = _listed([account]), described(account)["expires_at"]

    assert "1970" not in listed + str(said)
    assert (shown is None) == (said is None)
    assert shown is None or (shown in listed and said.startswith(shown))
