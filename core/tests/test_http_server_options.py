"""Options of Hypercorn, and addresses: what cannot be used is refused by name before anything starts."""

import shutil
import subprocess

import pytest

from proxy_core import SettingsError
from proxy_core.server.certificate import check_certificate as check_tls
from proxy_core.server.hypercorn import check
from proxy_core.server.serve import listen
from proxy_core.settings.schema import ServerSettings

WRONG = {
    "backlog": "many",
    "keep_alive_timeout": "x",
    "h2_max_concurrent_streams": [1],
    "max_app_queue_size": 2.5,
    "max_requests": "some",
    "umask": "u=rwx",
    "include_server_header": "maybe",
    "ciphers": 5,
    "server_names": {"a": 1},
    "verify_mode": "strict",
    "root_path": ["/"],
    "create_sockets": "x",
    "create_ssl_context": None,
    "from_object": 1,
    "log": 1,
    "ssl_enabled": True,
    "__class__": 1,
    "": 1,
}


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG)
def test_an_option_that_cannot_be_used_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=rf"^server\.hypercorn\.{name}: "):
        check(ServerSettings(hypercorn={name: value}))


RIGHT = {
    "backlog": ["7", 7],
    "keep_alive_timeout": ["2.5", 3],
    "include_server_header": ["true", "off", True],
    "server_names": ["a.example,b.example", '["a.example"]', ["a.example"]],
    "max_requests": ["5", None],
    "root_path": ["/llm"],
    "umask": ["7"],
}


@pytest.mark.parametrize(("name", "values"), RIGHT.items(), ids=RIGHT)
def test_text_as_the_environment_has_it_is_converted(name, values):
    for value in values:
        check(ServerSettings(hypercorn={name: value}))


@pytest.mark.parametrize("host", ["..x..", "x" * 300, "a.." + "y" * 70, "x\0y"])
def test_an_address_that_is_none_is_refused(host):
    with pytest.raises(SettingsError, match="cannot listen on"):
        listen(ServerSettings(host=host, port=0))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program to make a certificate")
@pytest.mark.parametrize("password", ["", "another"])
def test_a_key_that_is_encrypted_is_called_so(tmp_path, password):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-days", "1", "-subj", "/CN=localhost", "-passout", "pass:right"]
    subprocess.run(["openssl", *made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)

    def check_with(**options):
        check_tls(ServerSettings(tls_certificate=certificate, tls_key=key, hypercorn=options))

    with pytest.raises(SettingsError, match="the key is encrypted, and"):
        check_with(**({"keyfile_password": password} if password else {}))
    check_with(keyfile_password="right")  # the test's own
