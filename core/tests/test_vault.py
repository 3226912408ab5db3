"""Credentials at rest: files, modes, links, damage, the environment."""

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import Tokens
from proxy_core.credentials.environment import from_environment, variable_problems
from proxy_core.credentials.linked_files import read_foreign, write_foreign
from proxy_core.credentials.stored import StoredCredential, VaultProblem
from proxy_core.credentials.vault import Stale, Vault
from proxy_core.files import write_private
from proxy_core.testing.example_oauth import EXAMPLE_FILE

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def stored(name="work", **more):
    fields = {
        "provider": "example",
        "kind": "example_oauth",
        "access_token": SecretStr("at-0"),
        "refresh_token": SecretStr("rt-0"),
        "expires_at": NOW,
        "identity": "dev@example.com",
        "details": {"project": "p1", "client_secret": SecretStr("cs")},
        **more,
    }
    return StoredCredential(name=name, **fields)


def tokens(number, **more):
    return Tokens(access_token=SecretStr(f"at-{number}"), refresh_token=SecretStr(f"rt-{number}"), **more)


def without_stamp(credential):
    return replace(credential, stamp=())


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "credentials", [EXAMPLE_FILE])


@pytest.fixture
def foreign(tmp_path):
    path = tmp_path / "cli" / "oauth_creds.json"
    path.parent.mkdir()
    fields = {"access_token": "at-0", "refresh_token": "rt-0", "expiry_date": 1790000000000, "email": "dev@example.com"}
    path.write_text(json.dumps({**fields, "unknown": [1]}))
    path.chmod(0o600)
    return path


def test_what_is_stored_is_read_again(vault):
    given = stored(tier="pro", priority=0, disabled=True, added_at=NOW, origin="login")
    added = vault.add(given)

    (found,) = vault.all("example")

    assert found == added
    kept = replace(given, path=vault.folder / "example" / "work.json", anchor="dev@example.com")
    assert without_stamp(found) == kept
    assert vault.providers() == ["example"]


def test_files_are_private_and_nothing_else_is_left(vault):
    os.umask(old := os.umask(0))
    try:
        os.umask(0)
        added = vault.add(stored())
        vault.save_tokens(added, tokens(1), added.refresh_token)
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (vault.folder, *vault.folder.rglob("*"))}

    assert {modes.pop("credentials"), modes.pop("example")} == {0o700}
    assert set(modes.values()) == {0o600}
    assert set(modes) <= {"work.json", ".lock"}


@pytest.mark.parametrize("before", [None, 0o755])
def test_folders_of_logins_in_variables_are_private_too(tmp_path, before):
    vault = Vault(tmp_path / "new" / "data" / "credentials")
    if before is not None:
        (vault.folder / "example").mkdir(parents=True)
        (vault.folder / "example").chmod(before)

    vault.adopt(environment({"EXAMPLE_1_REFRESH_TOKEN": "r1"}))
    folders = [p for p in (vault.folder, *vault.folder.rglob("*")) if p.is_dir()]

    assert len(folders) == 3
    assert {stat.S_IMODE(p.stat().st_mode) for p in folders} == {0o700}
    assert before is not None or stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_secrets_do_not_show(vault):
    shown = repr(vault.add(stored())) + repr(stored().credential(str))

    assert not any(secret in shown for secret in ("at-0", "rt-0", "cs'"))


def test_a_credential_keeps_its_name_when_its_tokens_change(vault):
    added = vault.add(stored())
    saved = vault.save_tokens(added, tokens(1), added.refresh_token)

    assert saved.credential(str).id == added.credential(str).id == "example:dev@example.com"
    assert saved.credential(str).secret.get_secret_value() == "at-1"


def test_tokens_that_leave_something_out_keep_it(vault):
    added = vault.add(stored(tier="pro"))
    new = Tokens(access_token=SecretStr("at-1"), details={"resource_url": "u"}, expires_at=NOW + timedelta(hours=1))

    saved = vault.save_tokens(added, new, added.refresh_token)

    assert saved.refresh_token == SecretStr("rt-0")
    assert (saved.tier, saved.identity, set(saved.details)) == (
        "pro",
        "dev@example.com",
        {"project", "client_secret", "resource_url"},
    )


def test_a_late_writer_does_not_overwrite_newer_tokens(vault):
    added = vault.add(stored())
    vault.save_tokens(added, tokens(1), added.refresh_token)

    with pytest.raises(Stale) as caught:
        vault.save_tokens(added, tokens("late"), added.refresh_token)

    assert caught.value.current.access_token.get_secret_value() == "at-1"
    assert vault.read(added).access_token.get_secret_value() == "at-1"


def test_of_many_writers_with_one_old_token_one_wins(vault):
    added = vault.add(stored())
    won = []

    def write(number):
        try:
            Vault(vault.folder).save_tokens(added, tokens(number), added.refresh_token)
            won.append(number)
        except Stale:
            pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [f"at-{won[0]}"] == [vault.read(added).access_token.get_secret_value()]
    assert len(won) == 1


DAMAGED = {
    b"": "it is empty",
    b"{": "not JSON",
    b"[]": "not a JSON object",
    b"\xff\xfe": "not JSON",
    b'{"version": 7, "kind": "x", "later": 1}': "which is newer than this proxy supports",
    b'{"version": 1, "kind": "x", "access_token": "secret-a", "more": 1}': "more",
    b'{"version": 1, "kind": "x"}': "neither",
    b'{"version": 1, "kind": "x", "access_token": {"a": "secret-b"}}': "access_token",
}


@pytest.mark.parametrize(("data", "why"), DAMAGED.items(), ids=DAMAGED.values())
def test_a_damaged_file_is_reported_and_left_alone_and_the_others_load(vault, data, why):
    vault.add(stored("good"))
    bad = vault.folder / "example" / "bad.json"
    bad.write_bytes(data)
    bad.chmod(0o600)

    contents = vault.load("example")

    assert [c.name for c in contents.credentials] == ["good"]
    assert [p.path for p in contents.problems] == [bad]
    assert why in str(contents.problems[0])
    assert "secret-" not in str(contents.problems[0])
    assert bad.read_bytes() == data


def test_a_file_that_others_may_read_is_reported(vault):
    path = vault.add(stored()).path
    path.chmod(0o644)

    contents = vault.load("example")

    assert "chmod 600" in str(contents.problems[0])
    assert len(contents.credentials) == 1


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a b", "x" * 101])
def test_a_name_cannot_leave_the_folder(vault, name):
    with pytest.raises(ValueError, match="is not a valid name"):
        vault.add(stored(name))


def test_a_name_is_taken_once_and_free_names_are_found(vault):
    vault.add(stored("dev@example.com"))

    with pytest.raises(FileExistsError):
        vault.add(stored("dev@example.com"))
    assert vault.free_name("example", "dev@example.com") == "dev@example.com-2"
    assert vault.free_name("example", "Åse <x>/..") == "se-x"
    assert vault.free_name("example", None) == "1"


def test_when_a_token_is_due():
    soon = NOW + timedelta(minutes=4)

    assert stored(expires_at=soon).due(NOW, 300)
    assert not stored(expires_at=soon).due(NOW, 200)
    assert not stored(expires_at=None).due(NOW, 300)
    assert stored(expires_at=None, access_token=SecretStr("")).due(NOW, 300)


def test_disabling_removing_and_the_mark_of_a_needed_login(vault):
    added = vault.add(stored())
    assert vault.set_disabled(added, True).disabled
    assert not vault.set_disabled(added, False).disabled

    marked = vault.mark_needs_login(added, "revoked; proxy-core login example", NOW)
    assert vault.all("example")[0].needs_login.why == marked.needs_login.why == "revoked; proxy-core login example"
    assert vault.login(marked, tokens(5)).needs_login is None

    vault.remove(added)
    assert vault.all("example") == []
    with pytest.raises(VaultProblem, match="no longer exists"):
        vault.read(added)


def test_a_killed_writer_leaves_the_old_file_and_its_remains_are_swept(vault, monkeypatch):
    added = vault.add(stored())
    left = added.path.with_name(f".{added.path.name}.123-abcdef01.tmp")
    left.write_text("rt-secret")
    os.utime(left, (0, 0))

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        vault.save_tokens(added, tokens(1), added.refresh_token)
    monkeypatch.undo()

    assert vault.read(added).access_token.get_secret_value() == "at-0"
    assert not list(added.path.parent.glob(".*.tmp"))


# --- Other programs' files ---------------------------------------------------------------


def test_a_copy_is_ours_and_the_file_stays(vault, foreign):
    before = foreign.read_bytes()
    copy = vault.import_tokens("example", "example_oauth", read_foreign(foreign, EXAMPLE_FILE), "copied")
    vault.save_tokens(copy, tokens(1), copy.refresh_token)

    assert copy.name == copy.identity == "dev@example.com"
    assert foreign.read_bytes() == before


def test_a_linked_file_is_followed_and_written_with_what_it_had(vault, foreign):
    link = vault.import_link("example", "example_oauth", foreign, EXAMPLE_FILE)
    assert not vault.changed(link)
    assert b"rt-0" not in link.path.read_bytes()

    saved = vault.save_tokens(link, tokens(1, details={"project": "p"}), link.refresh_token)
    fields = json.loads(foreign.read_bytes())

    assert (fields["access_token"], fields["refresh_token"], fields["unknown"]) == ("at-1", "rt-1", [1])
    assert saved.details == {"project": "p"}
    assert b"at-1" not in link.path.read_bytes()
    assert vault.changed(link)
    assert not vault.changed(saved)
    assert stat.S_IMODE(foreign.stat().st_mode) == 0o600


def test_what_the_other_program_writes_is_seen(vault, foreign):
    link = vault.import_link("example", "example_oauth", foreign, EXAMPLE_FILE)
    link = vault.mark_needs_login(link, "revoked", NOW)
    assert link.needs_login is not None
    write_private(foreign, json.dumps({"access_token": "at-9", "refresh_token": "rt-9"}).encode())

    assert vault.changed(link)
    assert vault.read(link).access_token.get_secret_value() == "at-9"
    assert vault.read(link).needs_login is None
    with pytest.raises(Stale):
        vault.save_tokens(link, tokens(1), link.refresh_token)


def test_a_linked_file_that_is_being_written_in_place_is_waited_for(vault, foreign):
    link = vault.import_link("example", "example_oauth", foreign, EXAMPLE_FILE)
    data = foreign.read_bytes()
    foreign.write_bytes(b"")
    later = threading.Timer(0.03, foreign.write_bytes, [data])
    later.start()

    assert vault.read(link).refresh_token.get_secret_value() == "rt-0"
    later.join()


@pytest.mark.parametrize("data", [b"", b"{"])
def test_a_linked_file_that_is_not_whole_is_not_written(vault, foreign, data):
    link = vault.read(vault.import_link("example", "example_oauth", foreign, EXAMPLE_FILE))
    foreign.write_bytes(data)

    with pytest.raises(VaultProblem):
        vault.save_tokens(link, tokens(1), link.refresh_token)
    with pytest.raises(VaultProblem):
        write_foreign(link, link.link, EXAMPLE_FILE)
    assert foreign.read_bytes() == data


def test_a_symbolic_link_stays_one(vault, foreign, tmp_path):
    way = tmp_path / "way.json"
    way.symlink_to(foreign)
    link = vault.import_link("example", "example_oauth", way, EXAMPLE_FILE)
    vault.save_tokens(link, tokens(1), link.refresh_token)

    assert way.is_symlink()
    assert b"rt-1" in foreign.read_bytes()
    assert vault.journal_path(link).parent == foreign.parent


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"access_token": "x"}'])
def test_a_linked_file_that_is_missing_or_replaced_is_reported(vault, foreign, content):
    vault.import_link("example", "example_oauth", foreign, EXAMPLE_FILE)
    if content is None:
        foreign.unlink()
    else:
        foreign.write_bytes(content)

    contents = vault.load("example")

    assert [one.problem for one in contents.credentials] == [contents.problems[0].why]
    assert contents.problems[0].path == foreign


def test_a_link_without_its_plugin_is_reported(vault, foreign):
    vault.import_link("example", "example_oauth", foreign, EXAMPLE_FILE)

    assert "is its plugin active?" in str(Vault(vault.folder).load("example").problems[0])


def test_a_file_that_cannot_be_written_in_is_not_linked(vault, foreign):
    with pytest.raises(VaultProblem, match="only be copied"):
        vault.import_link("example", "example_oauth", foreign, replace(EXAMPLE_FILE, write=None))


# --- The environment ---------------------------------------------------------------------

VARIABLES = {
    "EXAMPLE_1_ACCESS_TOKEN": "a1",
    "EXAMPLE_1_REFRESH_TOKEN": "r1",
    "EXAMPLE_1_EXPIRY_DATE": "1790000000000",
    "EXAMPLE_1_EMAIL": "dev@example.com",
    "EXAMPLE_1_PROJECT_ID": "p1",
    "EXAMPLE_1_CLIENT_SECRET": "s1",
    "EXAMPLE_1_TIER": "pro",
    "EXAMPLE_12_REFRESH_TOKEN": "r12",
    "EXAMPLE_3_EMAIL": "nobody@example.com",
    "EXAMPLE_REFRESH_TOKEN": "r0",
    "EXAMPLE_API_BASE": "http://x",
    "EXAMPLE_1_EMPTY": " ",
    "OTHER_1_ACCESS_TOKEN": "x",
}


def environment(variables):
    return from_environment("EXAMPLE", variables, provider="example", kind="example_oauth")


def test_variables_become_credentials():
    first, second = environment(VARIABLES)

    assert (first.name, second.name) == ("env-1", "env-12")
    assert first.access_token.get_secret_value() == "a1"
    assert first.expires_at == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert (first.identity, first.tier) == ("dev@example.com", "pro")
    assert first.details == {"project_id": "p1", "client_secret": SecretStr("s1")}


def test_the_form_without_a_number_counts_where_there_is_no_other():
    (only,) = environment({k: v for k, v in VARIABLES.items() if "_1" not in k})

    assert (only.name, only.details) == ("env-0", {})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"1_REFRESH_TOKEN": "r", "1_EXPIRY_DATE": "soon"}, "EXAMPLE_1_EXPIRY_DATE is no time"),
        ({"1_REFRESH_TOKEN": "r", "1_EXPIRY_DATE": "0"}, ""),
        ({"1_REFRESH_TOKEN": "r", "1_EXPIRY_DATE": "2099-01-01"}, ""),
        (
            {"1_REFRESH_TOKEN": "r", "1_TOKEN_URI": "vendor.example/token"},
            "EXAMPLE_1_TOKEN_URI is not the https address",
        ),
        (
            {"1_REFRESH_TOKEN": "r", "1_TOKEN_URI": "http://vendor.example"},
            "EXAMPLE_1_TOKEN_URI is not the https address",
        ),
        ({"1_REFRESH_TOKEN": "r", "1_TOKEN_URI": "http://127.0.0.1:9/token"}, ""),
        ({"1_REFRESH_TOKEN": "r", "1_PRIORITY": "first"}, "EXAMPLE_1_PRIORITY is not a whole number"),
        ({"1_REFRESH_TOKEN": "r", "1_TEIR": "pro"}, "EXAMPLE_1_TEIR is not known: is EXAMPLE_1_TIER meant?"),
        ({"1_REFRESH_TOKEN": "r", "1_SEAT": "s"}, ""),
        ({"REFRESH_TOKEN": "r", "EXPIRY_DATE": "soon"}, "EXAMPLE_EXPIRY_DATE is no time"),
        ({"2_REFERSH_TOKEN": "r"}, "EXAMPLE_2_REFERSH_TOKEN: there is neither EXAMPLE_2_ACCESS_TOKEN nor"),
        ({"1_REFRESH_TOKEN": "a\nb"}, "EXAMPLE_1_* is not used: refresh_token has characters"),
    ],
)
def test_what_is_wrong_with_variables_is_said(variables, said):
    named = {f"EXAMPLE_{name}": value for name, value in variables.items()}
    lines = list(variable_problems("EXAMPLE", named, ["seat"]))

    assert len(lines) == bool(said)
    assert said in "".join(lines)
    assert "is not used" not in said or environment(named) == []


def test_a_rotated_token_of_the_environment_outlives_a_restart_until_the_variable_changes(vault):
    (first,) = vault.adopt(environment({"EXAMPLE_1_REFRESH_TOKEN": "r1"}))
    vault.save_tokens(first, tokens(1), first.refresh_token)

    (restarted,) = Vault(vault.folder).adopt(environment({"EXAMPLE_1_REFRESH_TOKEN": "r1"}))
    (changed,) = Vault(vault.folder).adopt(environment({"EXAMPLE_1_REFRESH_TOKEN": "r2"}))

    assert restarted.refresh_token.get_secret_value() == "rt-1"
    assert changed.refresh_token.get_secret_value() == "r2"
    assert vault.all("example") == []


def test_without_a_disk_the_environment_lives_in_memory(tmp_path):
    (tmp_path / "file").write_text("")
    vault = Vault(tmp_path / "file" / "credentials")
    (first,) = vault.adopt(environment({"EXAMPLE_1_REFRESH_TOKEN": "r1"}))
    vault.save_tokens(first, tokens(1), first.refresh_token)

    assert first.path is None
    assert vault.read(first).refresh_token.get_secret_value() == "rt-1"
    with pytest.raises(Stale):
        vault.save_tokens(first, tokens(2), first.refresh_token)
