"""Every value that is shown has the line that set it, and no secret is shown."""

import pytest

from proxy_core.cli.api import catalog_of, load
from proxy_plugin_doctor.effective import MASK, effective_values, stray
from proxy_plugin_doctor.toml_key_lines import key_lines

TEXT = '''# a comment
[server]
port = 9000   # another
"tls_key" = "x = 1"

[models]
fast = """
[not.a.table]
key = 1
"""
slow.deployments = ["a/b"]

[[providers.x.rotation.caps]]
limit = 5
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("server",), 2),
        (("server", "port"), 3),
        (("server", "tls_key"), 4),
        (("models", "fast"), 7),
        (("not", "a", "table"), None),
        (("models", "key"), None),
        (("models", "slow", "deployments"), 11),
        (("providers", "x", "rotation", "caps", "limit"), 14),
    ],
)
def test_the_line_of_a_key(path, line):
    assert key_lines(TEXT).get(path) == line


def test_values_have_their_origins_and_secrets_are_masked(tmp_path):
    file = tmp_path / "proxy-core.toml"
    file.write_text("[server]\nport = 9000\n[clients.laptop]\nkey = 'a-long-secret'\n")
    environ = {"PROXY_SERVER__WORKERS": "2", "PROXY_SERVR__PORT": "1", "PROXY_DATA_DIR": str(tmp_path)}
    loaded = load(environ=environ, cwd=tmp_path)
    catalog = catalog_of(loaded, [])

    shown = {value.key: (value.shown, value.origin) for value in effective_values(loaded, catalog)}

    assert shown == {
        "server.port": ("9000", f"{file}:2"),
        "server.workers": ("2", "environment variable PROXY_SERVER__WORKERS"),
        "clients.laptop.key": (MASK, f"{file}:4"),
    }
    assert stray(loaded, catalog) == ["PROXY_SERVR__PORT sets nothing: no such setting"]
