"""Proxies and the vendor's own program refresh one shared file and are killed: no refresh token is spent twice."""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from proxy_core.testing.credentials import Vault
from proxy_plugin_qwen_code.files import QWEN_FILE
from proxy_plugin_qwen_code.testing import FakeQwen

pytestmark = pytest.mark.slow

PROCESS = Path(__file__).with_name("sharing_process.py")
WORKERS = ("a", "b")


class Shared:
    """The file, and the processes around it."""

    def __init__(self, folder, qwen):
        self.folder = folder
        self.qwen = qwen
        self.file = folder / "oauth_creds.json"
        self.events = Counter()
        self.running = {}
        self.log_in()
        for name in WORKERS:
            vault = Vault(folder / name, [QWEN_FILE])
            vault.import_link("qwen_code", "qwen_oauth", self.file, QWEN_FILE)

    def log_in(self):
        tokens = self.qwen.issue()
        fields = {"access_token": tokens.access_token.get_secret_value(), "token_type": "Bearer", "expiry_date": 1}
        fields["refresh_token"] = tokens.refresh_token.get_secret_value()
        beside = self.folder / "new.json"
        beside.write_text(json.dumps(fields))
        beside.replace(self.file)

    async def start(self, name):
        place = self.file if name == "vendor" else self.folder / name
        role = "vendor" if name == "vendor" else "worker"
        command = (sys.executable, str(PROCESS), role, self.qwen.base, str(place))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert await process.stdout.readline() == b"ready\n"
        self.running[name] = (process, asyncio.create_task(self._listen(name, process)))

    async def _listen(self, name, process):
        async for line in process.stdout:
            self.events["vendor" if name == "vendor" else "worker", line.decode().strip()] += 1

    async def kill(self, name):
        process, listening = self.running.pop(name)
        assert process.returncode is None, f"{name} ended by itself"
        process.kill()
        await process.wait()
        await listening

    async def until(self, refreshes, limit_s=15.0):
        """Wait for that many refreshes, including some by the vendor's program."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if len(self.qwen.accepted) >= refreshes and self.events["vendor", "refreshed"]:
                return
            await asyncio.sleep(0.05)


def spent_twice(qwen):
    taken = Counter(s.token for s in qwen.spendings if s.outcome == "accepted")
    return [token for token, times in taken.items() if times > 1]


async def test_a_third_process_that_refreshes_the_same_file_breaks_no_login(tmp_path):
    async with FakeQwen(strict=True) as qwen:
        shared = Shared(tmp_path, qwen)
        await asyncio.gather(*(shared.start(name) for name in (*WORKERS, "vendor")))
        await shared.until(40)
        seen, again, twice = dict(shared.events), qwen.spent_again, spent_twice(qwen)
        for name in list(shared.running):
            await shared.kill(name)

        assert len(qwen.accepted) >= 5
        assert (again, twice) == ([], [])
        assert [event for event in seen if event[1].startswith(("refused", "login"))] == []
        assert {who for (who, event) in seen if event == "refreshed"} == {"worker", "vendor"}


async def test_workers_that_are_killed_spend_no_token_twice(tmp_path):
    async with FakeQwen(strict=True) as qwen:
        shared = Shared(tmp_path, qwen)
        kills = 0
        await asyncio.gather(*(shared.start(name) for name in (*WORKERS, "vendor")))
        for _ in range(6):
            await asyncio.sleep(random.uniform(0.05, 0.4))
            await shared.kill(name := random.choice(WORKERS))
            kills += 1
            if qwen.families[-1].revoked:  # a response was lost with its process, so a new login is needed
                shared.log_in()
            await shared.start(name)
        await shared.until(len(qwen.accepted) + 3)
        for name in list(shared.running):
            await shared.kill(name)

        assert len(qwen.accepted) >= 5
        assert spent_twice(qwen) == []
        # A login can end only if a kill destroyed a response before it was on disk.
        assert len([family for family in qwen.families if family.revoked]) <= kills
