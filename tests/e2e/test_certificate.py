"""A renewed certificate is used without a restart."""

import asyncio
import os
import ssl

import pytest
import trustme

from proxy_core.testing.program import serving


class Files:
    """A certificate and its key on disk, from an authority that clients trust."""

    def __init__(self, folder):
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.authority = trustme.CA()
        self.context = ssl.create_default_context()
        self.authority.configure_trust(self.context)

    def issue(self):
        issued = self.authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def write(self, file, data):
        aside = file.with_suffix(".new")
        aside.write_bytes(data)
        os.replace(aside, file)

    def renew(self):
        certificate, key = self.issue()
        self.write(self.certificate, certificate)
        self.write(self.key, key)
        return ssl.PEM_cert_to_DER_cert(certificate.decode())


@pytest.fixture
def files(tmp_path):
    (tmp_path / "tls").mkdir()
    return Files(tmp_path / "tls")


class Connection:
    """One connection of a client."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    async def asked(self):
        self.writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
        return int(head.split()[1])


async def connected(program, files):
    port = int(program.url.rpartition(":")[2])
    return Connection(*await asyncio.open_connection("127.0.0.1", port, ssl=files.context))


async def presented(program, files):
    connection = await connected(program, files)
    connection.writer.close()
    return connection.certificate


async def until(holds, within_s=30.0):
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(0.05)


def options(files, http_server):
    return ["--server", http_server, "--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]


async def test_new_connections_have_a_renewed_certificate_and_open_ones_go_on(tmp_path, files, http_server):
    first = files.renew()
    async with serving(tmp_path, *options(files, http_server)) as program:
        open_one = await connected(program, files)
        before = await open_one.asked()
        second = files.renew()
        if http_server == "granian":

            async def said():
                return "granian reads it at its start only" in program.output

            await until(said)
            assert await presented(program, files) == first
        else:

            async def renewed():
                return await presented(program, files) == second

            await until(renewed)
        after = await open_one.asked()

    assert (before, after) == (200, 200)
    assert open_one.certificate == first


async def test_a_pair_that_does_not_fit_changes_nothing_until_it_does(tmp_path, files, http_server):
    first = files.renew()
    async with serving(tmp_path, *options(files, http_server)) as program:
        assert await presented(program, files) == first, "it serves"
        certificate, key = files.issue()
        files.write(files.certificate, certificate)

        async def said():
            return "the one before is still used" in program.output

        await until(said)
        meanwhile = await presented(program, files)
        files.write(files.key, key)

        async def fits():
            return "the certificate has changed; " in program.output

        await until(fits)
        at_last = await presented(program, files)

    assert meanwhile == first
    second = ssl.PEM_cert_to_DER_cert(certificate.decode())
    assert at_last == (first if http_server == "granian" else second)
