"""Commands in processes of their own that need not import everything anew: forked from one that has."""

import asyncio
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver") if hasattr(os, "fork") else None
_END_S = 40
#: What commands and plugins import.
PRELOADED = (
    "pytest aiohttp httpx_aiohttp oauthlib.oauth2 filelock hypercorn.asyncio proxy_core.cli.login"
    " proxy_core.cli.credentials proxy_core.cli.credentials_files proxy_core.cli.credentials_try proxy_core.cli.config"
    " proxy_core.cli.doctor proxy_core.cli.reach proxy_core.runtime.compose proxy_core.testing.example_oauth"
    " proxy_core.network.fetch proxy_plugin_openai_compat proxy_plugin_otel proxy_plugin_redaction proxy_plugin_redis"
).split()


async def run_warm(home, variables, arguments, stdin=""):
    """Exit code and everything printed, as of the program started anew."""
    with tempfile.TemporaryDirectory() as folder:
        given, told = Path(folder, "in"), Path(folder, "out")
        given.write_text(stdin)
        process = _CONTEXT.Process(target=_command, args=(str(home), variables, arguments, str(given), str(told)))
        _CONTEXT.set_forkserver_preload(PRELOADED)
        await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.join, _END_S)
        assert process.exitcode is not None, told.read_text()
        return process.exitcode, told.read_text()


def _command(home, variables, arguments, given, told):
    os.chdir(home)
    os.environ.clear()
    os.environ.update(variables)
    for descriptor, path, flags in ((0, given, os.O_RDONLY), (1, told, os.O_WRONLY | os.O_CREAT)):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(descriptor, "w", closefd=False) for descriptor in (1, 2))  # noqa: SIM115
    sys.stderr.reconfigure(line_buffering=True)
    sys.path[:0] = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["proxy-core", *arguments]
    from proxy_core.cli import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
