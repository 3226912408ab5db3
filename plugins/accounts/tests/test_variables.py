"""What is exported as variables is what the core reads."""

from datetime import UTC, datetime

from dotenv import dotenv_values
from pydantic import SecretStr

from proxy_core.testing.credentials import StoredCredential, from_environment
from proxy_plugin_accounts.variables import env_file, to_environment


def stored(name, **more):
    fields = {
        "provider": "example",
        "kind": "example_oauth",
        "access_token": SecretStr("at-0"),
        "refresh_token": SecretStr("rt-0"),
        "expires_at": datetime(2026, 11, 1, tzinfo=UTC),
        "identity": "dev@example.com",
        "details": {"project": "p1", "client_secret": SecretStr("cs")},
        **more,
    }
    return StoredCredential(name=name, **fields)


def test_an_export_is_what_can_be_read_again(tmp_path):
    given = [stored("a", tier="x"), stored("b", details={"project_id": "it's \\ $HOME"})]
    pairs = to_environment("EXAMPLE", given)
    path = tmp_path / "x.env"
    path.write_text(env_file(pairs))

    assert dotenv_values(path) == dict(pairs)
    again = from_environment("EXAMPLE", dict(pairs), provider="example", kind="example_oauth")
    assert [c.refresh_token for c in again] == [c.refresh_token for c in given]
    assert again[1].details == {"project_id": "it's \\ $HOME"}
    assert again[0].details == {"project": "p1", "client_secret": SecretStr("cs")}
