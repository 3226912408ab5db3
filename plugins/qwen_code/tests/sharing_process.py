"""A process that shares one login's file, until it is killed: a proxy's worker, or the vendor's own program.

``python sharing_process.py worker|vendor BASE PLACE``. It prints a line per event.
"""

import asyncio
import json
import os
import random
import sys
import time
import uuid
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from proxy_core import HttpResponse, LoginRequired, RetryRefresh, SystemClock, TransportFailed
from proxy_core.testing.credentials import Vault, refresh_once
from proxy_plugin_qwen_code.files import QWEN_FILE
from proxy_plugin_qwen_code.login import qwen_refresher
from proxy_plugin_qwen_code.settings import QwenCodeSettings

CLIENT_ID, TOKEN_PATH = "example-client", "/api/v1/oauth2/token"


def say(event):
    print(event, flush=True)


def post(url, form, headers=()):
    try:
        with urlopen(Request(url, form, dict(headers)), timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


async def exchange(request, *, timeout_s=30.0):
    """Fast to import, because the process is killed every other second."""
    try:
        status, body = await asyncio.to_thread(post, request.url, request.content, request.headers)
    except URLError as error:
        raise TransportFailed("no answer", sent=True) from error
    return HttpResponse(status, {"content-type": "application/json"}, body)


async def worker(base, folder):
    """Refresh over and over, as if each token had just been refused."""
    refresher = qwen_refresher(QwenCodeSettings(client_id=CLIENT_ID, token_url=f"{base}{TOKEN_PATH}"))
    vault = Vault(Path(folder), [QWEN_FILE])
    (stored,) = vault.all("qwen_code")
    say("ready")
    while True:
        try:
            done = await refresh_once(stored, refresher, exchange, vault, SystemClock())
            stored = done.stored
            say(done.how)
        except LoginRequired:
            say("login needed")
            await asyncio.sleep(0.2)
        except RetryRefresh as later:
            say(f"later {later}")
            await asyncio.sleep(0.05)
        await asyncio.sleep(random.uniform(0, 0.2))


def vendor(base, place):
    """Qwen Code as described in qwen-code.md 2 and 2.2; uses none of our code."""
    file = Path(place)
    lock = file.with_name("oauth_creds.lock")
    say("ready")
    while True:
        time.sleep(random.uniform(0, 0.12))
        word, pause = str(uuid.uuid4()), 0.1
        for _ in range(20):
            try:
                with lock.open("x") as out:
                    out.write(word)
                break
            except FileExistsError:
                time.sleep(pause)
                pause = min(pause * 1.5, 2.0)
        else:
            say("no lock")
            continue
        try:
            fields = json.loads(file.read_bytes())
            form = {"grant_type": "refresh_token", "refresh_token": fields["refresh_token"], "client_id": CLIENT_ID}
            status, body = post(f"{base}{TOKEN_PATH}", urlencode(form).encode())
            if status != 200:
                say(f"refused {status}")
                continue
            new = json.loads(body)
            fields |= {name: new[name] for name in ("access_token", "refresh_token", "token_type", "resource_url")}
            fields["expiry_date"] = int(time.time() * 1000) + new["expires_in"] * 1000
            beside = file.with_name(f"oauth_creds.json.tmp.{word}")
            beside.write_text(json.dumps(fields))
            os.replace(beside, file)
            say("refreshed")
        finally:
            if lock.exists() and lock.read_text() == word:
                lock.unlink()


if __name__ == "__main__":
    role, where, there = sys.argv[1:]
    if role == "vendor":
        vendor(where, there)
    else:
        asyncio.run(worker(where, there))
