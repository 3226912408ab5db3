"""One refresh at a time: no refresh token is sent twice, no answer is lost."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    CredentialRefresher,
    HttpResponse,
    LoginRequired,
    RetryRefresh,
    SetupRequired,
    SystemClock,
    Tokens,
    UpstreamRequest,
)
from proxy_core.credentials import vault as vault_module
from proxy_core.credentials.environment import from_environment
from proxy_core.credentials.journal import Journal
from proxy_core.credentials.locks import CredentialLock, LockBusy
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.testing import FakeOAuthServer, open_exchange
from proxy_core.testing.example_oauth import EXAMPLE_FILE, example_refresher

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def server():
    async with FakeOAuthServer(strict=True) as running:
        yield running


@pytest.fixture
async def exchange():
    async with open_exchange() as running:
        yield running


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "credentials", [EXAMPLE_FILE])


@pytest.fixture
def stored(server, vault):
    blank = StoredCredential(provider="example", name="work", kind="example_oauth")
    return vault.add(blank.with_tokens(server.issue()))


@pytest.fixture
def linked(server, vault, tmp_path):
    path = tmp_path / "oauth_creds.json"
    tokens = server.issue()
    credential = StoredCredential(provider="x", name="x", kind="x").with_tokens(tokens).credential(str)
    path.write_bytes(EXAMPLE_FILE.write(b"", credential))
    return vault.import_link("example", "example_oauth", path, EXAMPLE_FILE)


@pytest.fixture
def renew(server, exchange, vault):
    async def once(stored, *, vault=vault, exchange=exchange, refresher=None, **more):
        return await refresh_once(stored, refresher or example_refresher(server.base), exchange, vault, CLOCK, **more)

    return once


def refresh_token(stored):
    return stored.refresh_token.get_secret_value()


def newest(server):
    return server.families[-1].current


async def test_new_tokens_are_on_disk_before_they_are_given(server, vault, stored, renew):
    done = await renew(stored)

    assert (done.how, done.saved) == ("refreshed", True)
    assert refresh_token(done.stored) == newest(server) != refresh_token(stored)
    assert Vault(vault.folder).read(stored).access_token == done.stored.access_token
    assert not vault.journal_path(stored).exists()
    assert 0 < done.window_s < done.durable_s


async def test_many_tasks_and_processes_make_one_request(server, vault, stored, renew):
    others = [Vault(vault.folder) for _ in range(3)]

    done = await asyncio.gather(*(renew(stored, vault=v) for v in (vault, *others) for _ in range(5)))

    assert [d.how for d in done].count("refreshed") == 1
    assert len({d.stored.access_token.get_secret_value() for d in done}) == 1
    assert len(server.spendings) == 1


async def test_new_tokens_written_by_another_process_are_used(server, vault, stored, renew):
    await renew(stored)

    assert (await renew(stored)).how == "theirs"
    assert len(server.spendings) == 1


async def test_a_linked_file_is_refreshed_under_its_programs_lock(server, vault, linked, renew):
    lock = EXAMPLE_FILE.lock(linked.link.path)
    assert lock.try_acquire()
    waiting = asyncio.ensure_future(renew(linked))
    await asyncio.sleep(0.1)
    assert server.spendings == []
    # The program renews meanwhile.
    fields = json.loads(linked.link.path.read_bytes())
    linked.link.path.write_text(json.dumps({**fields, "access_token": "theirs", "refresh_token": "theirs-r"}))
    lock.release()

    done = await waiting

    assert (done.how, done.stored.access_token.get_secret_value()) == ("theirs", "theirs")
    assert server.spendings == []
    assert not EXAMPLE_FILE.lock(linked.link.path).path.exists()


async def test_a_linked_file_gets_the_new_tokens(server, vault, linked, renew):
    done = await renew(linked)

    assert json.loads(linked.link.path.read_bytes())["refresh_token"] == newest(server)
    assert done.stored.link == linked.link


async def test_the_other_programs_lock_is_waited_for_and_returned(tmp_path):
    theirs = EXAMPLE_FILE.lock(tmp_path / "x.json")
    assert theirs.try_acquire()
    with pytest.raises(LockBusy, match=r"x\.lock is held by another process"):
        await CredentialLock(tmp_path / "own", EXAMPLE_FILE.lock(tmp_path / "x.json"), wait_s=0.1).acquire()
    assert theirs.path.exists()
    theirs.release()

    async with CredentialLock(tmp_path / "own", EXAMPLE_FILE.lock(tmp_path / "x.json"), wait_s=1):
        assert theirs.path.exists()
    assert not theirs.path.exists()


async def test_a_lock_that_is_held_too_long_is_for_later(server, vault, stored, renew):
    async with vault.lock(stored):
        with pytest.raises(RetryRefresh, match="no lock"):
            await renew(stored, lock=vault.lock(stored, wait_s=0.1))


# --- Refusals ----------------------------------------------------------------------------


async def test_a_refused_token_needs_a_login_and_is_not_sent_again(server, vault, stored, renew):
    server.revoke_all()
    for _ in range(3):
        with pytest.raises(LoginRequired, match="proxy-core login example_oauth"):
            await renew(stored)

    (marked,) = vault.all("example")
    assert "invalid_grant" in marked.needs_login.why
    assert len(server.spendings) == 1

    new = vault.login(marked, server.issue())
    assert new.needs_login is None
    assert (await renew(new)).how == "refreshed"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_server_changes_nothing(server, vault, stored, renew, status):
    server.fails(status, headers={"retry-after": "7"})

    with pytest.raises(RetryRefresh) as caught:
        await renew(stored)

    assert caught.value.retry_after_s == 7
    assert replace(vault.read(stored), stamp=()) == replace(stored, stamp=())
    assert (await renew(stored)).how == "refreshed"


async def test_no_connection_leaves_no_doubt(vault, stored, renew, server):
    refused = example_refresher("http://127.0.0.1:9")
    with pytest.raises(RetryRefresh):
        await renew(stored, refresher=refused)

    assert not vault.journal_path(stored).exists()


async def test_a_plugins_bug_counts_as_later(server, vault, stored, renew):
    async def refresh(credential, exchange):
        raise KeyError("x")

    with pytest.raises(RetryRefresh, match="KeyError"):
        await renew(stored, refresher=replace(example_refresher(server.base), refresh=refresh))


@pytest.mark.parametrize("error", [LoginRequired, SetupRequired, RetryRefresh])
async def test_what_a_server_repeats_of_a_request_is_neither_shown_nor_stored(renew, server, vault, stored, error):
    sent = [refresh_token(stored), "client-secret-of-the-app", stored.access_token.get_secret_value()]

    async def refresh(credential, exchange):
        form = urlencode({"refresh_token": sent[0], "client_secret": sent[1], "grant_type": "refresh_token"}).encode()
        await exchange(UpstreamRequest(method="POST", url=f"{server.base}/x", headers=(), content=form))
        raise error(f"invalid_grant: {' '.join(sent)} {quote(sent[0])}")

    with pytest.raises(error, match="invalid_grant") as raised:
        await renew(stored, refresher=replace(example_refresher(server.base), refresh=refresh))

    kept = vault.read(stored).needs_login
    assert not any(secret in f"{raised.value} {kept and kept.why}" for secret in sent)


async def test_a_lost_response_is_requested_again_within_the_reuse_window(vault, exchange):
    async with FakeOAuthServer(strict=True, reuse_s=60) as server:
        blank = StoredCredential(provider="example", name="work", kind="example_oauth")
        stored = vault.add(blank.with_tokens(server.issue()))
        server.resets(done=True)
        refresher = example_refresher(server.base)
        with pytest.raises(RetryRefresh):
            await refresh_once(stored, refresher, exchange, vault, CLOCK)
        assert vault.journal_path(stored).exists()

        done = await refresh_once(stored, refresher, exchange, vault, CLOCK)

        assert refresh_token(done.stored) == newest(server)
        assert not vault.journal_path(stored).exists()


async def test_a_lost_response_without_a_reuse_window_says_what_happened(server, vault, stored, renew):
    server.resets(done=True)
    with pytest.raises(RetryRefresh):
        await renew(stored)

    with pytest.raises(LoginRequired, match=r"log in again: .*interrupted at .* had probably taken"):
        await renew(stored)

    assert "interrupted" in vault.all("example")[0].needs_login.why


async def test_a_program_without_a_lock_that_was_first_is_noticed(server, vault, linked, renew):
    other = example_refresher(server.base).refresh

    async def refresh(credential, exchange):
        async with open_exchange() as theirs:
            tokens = await other(credential, theirs)
        old = linked.link.path.read_bytes()
        new = StoredCredential(provider="x", name="x", kind="x").with_tokens(tokens).credential(str)
        linked.link.path.write_bytes(EXAMPLE_FILE.write(old, new))
        return await other(credential, exchange)

    server.strict = False
    with pytest.raises(RetryRefresh, match="another program") as caught:
        await renew(linked, refresher=replace(example_refresher(server.base), refresh=refresh))

    assert caught.value.retry_after_s == 0
    assert (await renew(linked)).how == "theirs"
    assert vault.read(linked).needs_login is None


# --- Kills -------------------------------------------------------------------------------


class Killed(BaseException):
    pass


async def killed_in(renew, stored, monkeypatch, owner, name):
    """A refresh of a process that dies in this call."""

    def die(*args, **more):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Killed):
            await renew(stored)


async def test_killed_before_the_request_left(server, vault, stored, renew, monkeypatch):
    async def die(*args, **more):
        raise Killed

    with pytest.raises(RetryRefresh, match="Killed"):  # only a plugin can raise here, and it may raise anything
        await renew(stored, exchange=die)

    assert vault.journal_path(stored).exists()
    assert (await renew(stored)).how == "refreshed"
    assert server.spent_again == []


async def test_killed_after_the_answer_was_journaled(server, vault, stored, renew, monkeypatch):
    await killed_in(renew, stored, monkeypatch, Vault, "save_tokens")
    assert [left.name for left in vault.interrupted("example")] == ["work"]
    assert vault.journal_path(stored).stat().st_mode & 0o777 == 0o600

    done = await renew(stored, vault=Vault(vault.folder))

    assert done.how == "recovered"
    assert vault.interrupted("example") == []
    assert refresh_token(done.stored) == newest(server)
    assert len(server.spendings) == 1
    assert not vault.journal_path(stored).exists()


async def test_killed_after_the_save(server, vault, stored, renew, monkeypatch):
    await killed_in(renew, stored, monkeypatch, Journal, "end")

    assert (await renew(stored)).how == "theirs"
    assert server.spent_again == []
    assert not vault.journal_path(stored).exists()


async def test_another_proxy_carries_on_with_a_shared_file(server, vault, linked, renew, monkeypatch, tmp_path):
    other = Vault(tmp_path / "other" / "credentials", [EXAMPLE_FILE])
    same = other.import_link("example", "example_oauth", linked.link.path, EXAMPLE_FILE)
    await killed_in(renew, linked, monkeypatch, Vault, "save_tokens")

    done = await renew(same, vault=other)

    assert (done.how, refresh_token(done.stored)) == ("recovered", newest(server))
    assert len(server.spendings) == 1


async def test_the_end_of_a_recovered_token_counts_from_when_it_came(server, vault, stored, renew, monkeypatch):
    await killed_in(renew, stored, monkeypatch, Vault, "save_tokens")
    path = vault.journal_path(stored)
    intent, answer, rest = path.read_bytes().split(b"\n")
    came = {**json.loads(answer), "at": (datetime.now(UTC) - timedelta(minutes=50)).isoformat()}
    path.write_bytes(b"\n".join([intent, json.dumps(came).encode(), rest]))

    done = await renew(stored)

    assert timedelta(minutes=9) < done.stored.expires_at - datetime.now(UTC) < timedelta(minutes=11)


async def test_a_plugin_that_fails_after_the_tokens_came_loses_nothing(server, vault, stored, renew):
    plain, fails = example_refresher(server.base), [True]

    async def refresh(credential, exchange):
        tokens = await plain.refresh(credential, exchange)
        if fails.pop() if fails else False:
            raise RetryRefresh("the project could not be asked for")
        return tokens

    refresher = replace(plain, refresh=refresh)
    with pytest.raises(RetryRefresh, match="project"):
        await renew(stored, refresher=refresher)

    assert (await renew(stored, refresher=refresher)).how == "recovered"
    assert len(server.spendings) == 1


async def test_a_refresher_with_a_grant_of_its_own_is_journaled_too(vault, stored, renew, monkeypatch, server):
    given = []

    async def refresh(credential, exchange):
        given.append(1)
        return Tokens(access_token=SecretStr("a"), refresh_token=SecretStr("b"), details={"s": SecretStr("c")})

    refresher = replace(example_refresher(server.base), refresh=refresh)

    def die(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Vault, "save_tokens", die)
        with pytest.raises(Killed):
            await renew(stored, refresher=refresher)
    done = await renew(stored, refresher=refresher)

    assert (done.how, len(given)) == ("recovered", 1)
    assert done.stored.details == {"s": SecretStr("c")}


@pytest.mark.parametrize("cut", [0, 5, 60, 200, -20])
async def test_a_torn_journal_is_no_worse_than_none(tmp_path, cut):
    journal = Journal(tmp_path / "j")
    journal.begin(SecretStr("r"), datetime.now(UTC))
    journal.write_answer(HttpResponse(200, {}, b'{"access_token":"a"}' * 20), datetime.now(UTC))
    journal.close()
    whole = (tmp_path / "j").read_bytes().rstrip()
    (tmp_path / "j").write_bytes(whole[:cut])

    entry = journal.read()

    assert entry is None or entry.answer is None


async def test_cancelling_does_not_cut_off_a_refresh(server, vault, stored, renew):
    server.delay_s = 0.2
    task = asyncio.ensure_future(renew(stored))
    await asyncio.sleep(0.1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert refresh_token(vault.read(stored)) == newest(server) != refresh_token(stored)
    assert not vault.journal_path(stored).exists()


@pytest.mark.parametrize("case", ["look-up", "token that stays valid"])
async def test_cancelling_ends_a_refresh_at_once_if_no_login_can_be_lost(vault, stored, renew, case):
    asked = asyncio.Event()

    async def silent(request, *, timeout_s=30.0):
        asked.set()
        await asyncio.Event().wait()

    async def refresh(credential, exchange):
        sent = credential.refresh_token.get_secret_value().encode() if case != "look-up" else b""
        await exchange(UpstreamRequest(url="https://x.example/", headers=[], content=sent))

    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh, rotates=case == "look-up")
    task = asyncio.ensure_future(renew(stored, exchange=silent, refresher=refresher))
    await asyncio.wait([task, asyncio.ensure_future(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()

    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not vault.journal_path(stored).exists()
    assert not vault.holds_lock(stored)


async def test_cancelling_a_look_up_after_the_new_token_keeps_that_for_the_next_start(
    server, vault, stored, exchange, renew
):
    asked = asyncio.Event()

    async def refresh(credential, http):
        tokens = await example_refresher(server.base).refresh(credential, http)
        await http(UpstreamRequest(url="https://x.example/look-up", headers=[]))
        return tokens

    async def partly_silent(request, *, timeout_s=30.0):
        if request.url.startswith(server.base):
            return await exchange(request, timeout_s=timeout_s)
        asked.set()
        await asyncio.Event().wait()

    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    task = asyncio.ensure_future(renew(stored, exchange=partly_silent, refresher=refresher))
    await asyncio.wait([task, asyncio.ensure_future(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await task

    done = await renew(stored)

    assert done.how == "recovered"
    assert refresh_token(done.stored) == newest(server)
    assert len(server.spendings) == 1


# --- Disks -------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch):
    """Files are not replaced any more until it is called."""

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vault_module, "write_private", full)
    return monkeypatch.undo


async def test_tokens_that_cannot_be_saved_are_used_and_saved_later(server, vault, stored, renew, full_disk, caplog):
    done = await renew(stored)

    assert (done.how, done.saved) == ("refreshed", False)
    assert "cannot be saved" in caplog.text
    assert refresh_token(done.stored) not in caplog.text
    assert vault.read(stored).access_token == done.stored.access_token
    with pytest.raises(RetryRefresh, match="cannot be saved"):
        await renew(done.stored)
    assert len(server.spendings) == 1

    full_disk()
    assert (await renew(stored)).stored.access_token == done.stored.access_token
    assert refresh_token(Vault(vault.folder).read(stored)) == newest(server)
    assert vault.unsaved() == []
    assert (await renew(vault.read(stored))).how == "refreshed"
    assert server.spent_again == []


async def test_another_process_learns_them_from_the_journal(server, vault, stored, renew, full_disk):
    await renew(stored)
    full_disk()
    other = Vault(vault.folder)

    assert (await renew(stored, vault=other)).how == "recovered"
    assert refresh_token(vault.read(stored)) == newest(server)
    assert vault.unsaved() == []
    assert len(server.spendings) == 1


async def test_without_the_journal_too_the_lock_is_kept(server, vault, stored, renew, full_disk, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_add", full)
    done = await renew(stored)
    other = Vault(vault.folder)

    assert not done.saved
    with pytest.raises(RetryRefresh, match="no lock"):
        await renew(stored, vault=other, lock=other.lock(stored, wait_s=0.1))

    full_disk()
    assert (await renew(stored)).how == "theirs"
    assert (await renew(stored, vault=other)).how == "theirs"
    assert len(server.spendings) == 1


async def test_without_a_journal_nothing_is_sent(server, vault, stored, renew, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "begin", full)
    with pytest.raises(RetryRefresh, match="journal"):
        await renew(stored)

    assert server.spendings == []


async def test_without_a_disk_one_request_is_made_per_process(server, tmp_path, renew):
    (tmp_path / "file").write_text("")
    vault = Vault(tmp_path / "file" / "credentials")
    token = server.issue().refresh_token.get_secret_value()
    variables = {"EXAMPLE_1_REFRESH_TOKEN": token}
    (stored,) = vault.adopt(from_environment("EXAMPLE", variables, provider="example", kind="example_oauth"))

    done = await asyncio.gather(*(renew(stored, vault=vault) for _ in range(5)))

    assert sorted(d.how for d in done) == ["refreshed", "theirs", "theirs", "theirs", "theirs"]
    assert len(server.spendings) == 1
