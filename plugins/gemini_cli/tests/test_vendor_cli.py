"""Google's own command line against the fake, as proof that it is faithful. Needs the program: it is skipped without.

``GEMINI_CLI_PROGRAM=/path/to/@google/gemini-cli/bundle/gemini.js`` or a ``gemini`` on the path.
"""

import asyncio
import os
import shutil

import pytest

from proxy_plugin_gemini.testing import finish, text
from proxy_plugin_gemini_cli.testing import PROJECT

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def program():
    given = os.environ.get("GEMINI_CLI_PROGRAM")
    return ["node", given] if given else [found] if (found := shutil.which("gemini")) else None


@pytest.mark.skipif(program() is None, reason="the Gemini CLI is not installed")
async def test_the_vendors_command_line_finishes_a_turn(google, tmp_path):
    google.account()
    google.answers(text("hel"), text("lo from the fake"), finish())
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GEMINI_CLI_HOME": str(tmp_path),
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GOOGLE_GENAI_USE_GCA": "true",
        "GOOGLE_CLOUD_ACCESS_TOKEN": google.issue().access_token.get_secret_value(),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "CODE_ASSIST_ENDPOINT": google.base,
        "NO_BROWSER": "true",
    }
    running = await asyncio.create_subprocess_exec(
        *program(),
        *("-m", "gemini-2.5-flash", "-p", "hi"),
        cwd=tmp_path,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            out, err = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()

    assert running.returncode == 0, err.decode()
    assert "hello from the fake" in out.decode()
    assert google.called("loadCodeAssist")
    assert google.called("streamGenerateContent?alt=sse")
