"""The program log: what a line has, what it must not have, and that writing it costs nobody anything."""

import asyncio
import gc
import json
import logging
import stat
import sys
import threading
import time
import warnings

import pytest

import proxy_core
from proxy_core.errors import SettingsError
from proxy_core.records.log import REQUEST_ID, program_log
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.settings.schema import LogSettings

log = logging.getLogger("proxy_core.tested")
SAID = "somebody's prompt"


@pytest.fixture
def logging_to(tmp_path):
    """``logging_to(format="json")``: the log of a process for a block."""

    def make(*redactors, secrets=("the-secret",), worker=0, **settings):
        redaction = Redaction([proxy_core.Redactor(name=f"r{n}", redact=r) for n, r in enumerate(redactors)])
        return program_log(
            LogSettings.model_validate(settings),
            folder=tmp_path / "logs",
            scrub=SecretScrubber(secrets),
            redaction=redaction,
            worker=worker,
        )

    return make


def upper(record):
    """A redactor that shows that it ran."""
    return {name: value.upper() for name, value in record.items()}


def test_a_line_has_time_level_request_and_logger(logging_to, capsys):
    with logging_to():
        token = REQUEST_ID.set("req-1")
        log.info("%s happened", "something")
        REQUEST_ID.reset(token)
        log.warning("outside of requests")
    first, second = capsys.readouterr().err.splitlines()

    assert first.endswith("INFO    [req-1] proxy_core.tested: something happened")
    assert second.endswith("WARNING [-] proxy_core.tested: outside of requests")
    time.strptime(first[:19], "%Y-%m-%d %H:%M:%S")


def test_json_lines(logging_to, capsys):
    with logging_to(format="json"):
        log.error("it broke", exc_info=ValueError("why"))
    line = json.loads(capsys.readouterr().err)

    assert (line["level"], line["logger"], line["request_id"]) == ("error", "proxy_core.tested", "-")
    assert line["message"] == "it broke"
    assert "ValueError" in line["exception"]
    assert line["time"].endswith("+00:00")


@pytest.mark.parametrize("format", ["human", "json"])
@pytest.mark.parametrize("clean", [dict, None])
def test_the_stack_of_another_process_is_shown_line_by_line(logging_to, capsys, format, clean):
    frames = 'Thread 0x1 (most recent call first):\n  File "a.py", line 1 in x\n'
    stack = f"{frames}2026-01-01 00:00:00 ERROR \x1b[2J the-secret"
    with logging_to(*filter(None, [clean]), format=format, secrets=["the-secret"]):
        log.error("it hangs", extra={"stack": stack})
        log.error("the next line", extra={"stack": ""})
    first, *rest = capsys.readouterr().err.splitlines()
    shown = json.loads(first)["stack"].split("\n") if format == "json" else rest[:3]

    assert "it hangs" in first
    assert shown[:2] == ["  Thread 0x1 (most recent call first):", '    File "a.py", line 1 in x']
    assert shown[2] == "  2026-01-01 00:00:00 ERROR \\x1b[2J [redacted]"
    assert "the next line" in rest[-1]
    assert len(rest) == (1 if format == "json" else 4)


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides_what_is_shown(logging_to, capsys, level, shown):
    with logging_to(level=level):
        for method in (log.debug, log.info, log.warning, log.error):
            method("a line")

    assert capsys.readouterr().err.count("a line") == shown


def test_other_libraries_are_logged_only_from_warnings_on(logging_to, capsys):
    with logging_to(level="debug"):
        logging.getLogger("somebody").info("chatter")
        logging.getLogger("somebody").warning("trouble")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    shown = capsys.readouterr().err

    assert "chatter" not in shown
    assert "trouble" in shown
    assert "old" in shown


def test_a_message_cannot_forge_a_line(logging_to, capsys):
    with logging_to():
        log.info("model %s", "x\n2026-01-01 00:00:00 ERROR   [-] proxy_core: all is lost\r\x1b[2J\x85\u2028.")
    shown = capsys.readouterr().err

    assert len(shown.splitlines()) == 1
    assert "\\x0a2026" in shown
    assert "\x1b" not in shown


def test_neither_can_an_exception(logging_to, capsys):
    with logging_to(dict):
        log.error("it broke", exc_info=ValueError("x\n2026-01-01 00:00:00 ERROR   [-] proxy_core: all is lost\x1b[2J"))
    shown = capsys.readouterr().err

    assert [line for line in shown.splitlines() if line.startswith("20")] == shown.splitlines()[:1]
    assert "\x1b" not in shown


def test_own_secrets_are_taken_out_of_messages_and_traces(logging_to, capsys):
    secret = "the-secret"
    with logging_to(upper, secrets=["THE-SECRET"]):
        try:
            raise ValueError(secret) from KeyError(secret)
        except ValueError:
            log.exception("with %s", secret)
    shown = capsys.readouterr().err

    assert "THE-SECRET" not in shown
    assert secret not in shown
    assert shown.count("[redacted]") == 3


def test_without_a_redactor_no_text_of_an_exception_is_shown(logging_to, capsys):
    said = "what a client wrote: utterance"
    with logging_to():
        try:
            try:
                raise KeyError(said)
            except KeyError:
                raise ValueError(said)  # noqa: B904
        except ValueError:
            log.exception("it broke")
        group = ExceptionGroup(said, [ValueError(said)])
        group.add_note(said)
        log.error("again", exc_info=group)
    shown = capsys.readouterr().err

    assert "utterance" not in shown
    assert "KeyError (message withheld" in shown
    assert "ValueError (message withheld" in shown
    assert "test_log.py" in shown
    assert "ExceptionGroup (message withheld" in shown


def test_a_chain_of_exceptions_that_leads_back_to_itself_is_shown_once(logging_to, capsys):
    first, second = KeyError("x"), ValueError("y")
    first.__cause__, second.__cause__ = second, first
    with logging_to():
        log.error("it broke", exc_info=first)
    shown = capsys.readouterr().err

    assert shown.count("(message withheld") == 2
    assert shown.index("ValueError") < shown.index("which led to") < shown.index("KeyError")


def test_a_redactor_that_fails_withholds_the_line(logging_to, capsys):
    def fail(record):
        raise RuntimeError("somebody's prompt")

    with logging_to(fail):
        log.info("somebody's prompt")
        log.info("somebody's prompt")
    shown = capsys.readouterr().err

    assert "prompt" not in shown
    assert shown.count("withheld: a redactor failed") >= 2


def test_lines_are_written_while_a_redactor_is_slow_with_the_next_ones(tmp_path, capsys):
    """And what is said about the redactor meanwhile comes before them."""
    log, written, goes_on = logging.getLogger("proxy_core.tested"), threading.Event(), threading.Event()

    def redact(record):
        if "first" in record["text"]:
            time.sleep(0.3)  # longer than lines are collected
            log.warning("about the redactor")
        if "second" in record["text"]:
            written.set()
            goes_on.wait(60)
        return record

    redaction = Redaction([proxy_core.Redactor(name="slow", redact=redact)])
    with program_log(LogSettings(), folder=tmp_path, scrub=SecretScrubber([]), redaction=redaction):
        for line in ("first", "second", "third"):
            log.warning(line)
        assert written.wait(60)
        shown = capsys.readouterr().err
        goes_on.set()
    shown_later = capsys.readouterr().err

    assert [line.rpartition(" ")[2] for line in shown.splitlines()] == ["first", "redactor"]
    assert [line.rpartition(" ")[2] for line in shown_later.splitlines()] == ["second", "third"]


def test_an_uncaught_exception_is_logged_and_redacted_too(logging_to, capsys):
    with pytest.raises(SystemExit, match="1"), logging_to():
        raise ValueError(SAID)
    shown = capsys.readouterr().err

    assert "the program ends because of an unexpected error" in shown
    assert "ValueError (message withheld" in shown
    assert "prompt" not in shown


def test_a_settings_problem_is_reported_wherever_it_is_caught(logging_to, capsys):
    with pytest.raises(SettingsError), logging_to():
        raise SettingsError(["a wrong setting"])

    assert capsys.readouterr().err == ""


def _in_a_thread():
    thread = threading.Thread(target=lambda: {}[SAID])
    thread.start()
    thread.join()


def _where_nobody_can_catch_it():
    class Left:
        def __del__(self):
            raise ValueError(SAID)

    Left()


def _in_a_task():
    async def fail():
        raise ValueError(SAID)

    async def main():
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(main())


def _in_a_callback():
    async def main():
        asyncio.get_running_loop().call_soon(lambda words: {}[words], SAID)
        await asyncio.sleep(0.01)

    asyncio.run(main())


@pytest.mark.parametrize("fail", [_in_a_thread, _where_nobody_can_catch_it, _in_a_task, _in_a_callback])
def test_what_the_interpreter_would_print_is_logged_and_cleaned(logging_to, capsys, fail):
    with logging_to():
        fail()
    shown = capsys.readouterr().err

    assert "Error (message withheld" in shown
    assert "prompt" not in shown


@pytest.mark.parametrize("format", ["human", "json"])
def test_a_request_id_is_cleaned_like_the_rest(logging_to, capsys, format):
    with logging_to(format=format):
        token = REQUEST_ID.set("the-secret")
        log.info("something happened")
        REQUEST_ID.reset(token)
    shown = capsys.readouterr().err

    assert "the-secret" not in shown
    assert "[redacted]" in shown


# --- Files -------------------------------------------------------------------------------


def test_no_file_is_written_unless_asked_for(logging_to, tmp_path):
    with logging_to():
        log.error("a line")

    assert list(tmp_path.iterdir()) == []


def test_the_log_is_written_to_the_chosen_folder_too(logging_to, tmp_path, capsys):
    with logging_to(folder=tmp_path / "chosen"):
        log.info("a line of the-secret")
        log.debug("not this one")
    file = tmp_path / "chosen" / "proxy.log"

    assert file.read_text() == capsys.readouterr().err
    assert "a line of [redacted]" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("settings", [{}, {"debug": True}], ids=["log", "and debug lines"])
def test_a_folder_that_cannot_be_written_costs_the_file_and_is_said(logging_to, tmp_path, capsys, settings):
    (tmp_path / "file").touch()
    with logging_to(folder=str(tmp_path / "file" / "logs"), **settings):
        log.info("still here")

    shown = capsys.readouterr().err
    assert "WARNING [-] proxy_core: log.folder: " in shown
    assert "proxy.log cannot be written (" in shown
    assert ("proxy_debug.log cannot be written" in shown) == bool(settings)
    assert "still here" in shown


def test_debug_lines_have_a_file_of_their_own(logging_to, tmp_path, capsys):
    with logging_to(debug=True):
        log.debug("details about the-secret")
    file = tmp_path / "logs" / "proxy_debug.log"

    assert "details about [redacted]" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().err == ""


def test_files_are_rotated_by_size_and_kept_by_count(logging_to, tmp_path):
    with logging_to(folder=tmp_path, max_file_bytes=1024, max_files=3):
        for n in range(100):
            log.info("line %03d of a hundred", n)
    files = sorted(tmp_path.iterdir())

    assert [file.name for file in files] == ["proxy.log", "proxy.log.1", "proxy.log.2"]
    assert all(file.stat().st_size <= 1024 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "line 099" in files[0].read_text()


def test_each_worker_has_files_of_its_own(logging_to, tmp_path):
    with logging_to(folder=tmp_path, debug=True, worker=2):
        log.info("a line")

    assert {file.name for file in tmp_path.iterdir()} == {"proxy.2.log", "proxy_debug.2.log"}


# --- Nobody waits ------------------------------------------------------------------------


def test_a_stuck_writer_costs_lines_and_no_time(logging_to, capsys, monkeypatch):
    monkeypatch.setattr("proxy_core.records.log._MAX_LINES", 100)
    go_on = threading.Event()

    def stuck(record):
        go_on.wait(60)
        return record

    with logging_to(stuck):
        began = time.monotonic()
        for n in range(1000):
            log.info("line %d.", n)
        took = time.monotonic() - began
        go_on.set()
        shown, end = "", time.monotonic() + 20
        while "line 50." not in shown and time.monotonic() < end:  # then there is room for one more
            time.sleep(0.01)
            shown += capsys.readouterr().err
        log.info("the last line")
    shown += capsys.readouterr().err

    assert took < 20
    assert "line 0." in shown
    assert "line 999." not in shown
    assert "log lines were dropped: the log could not be written fast enough" in shown
    assert "the last line" in shown


def test_afterwards_everything_is_as_it_was(logging_to, tmp_path):
    def state():
        root = logging.getLogger()
        hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
        return root.handlers[:], root.level, logging.getLogger("proxy_core").level, hooks

    before = state()
    with logging_to(level="debug"):
        assert state() != before

    assert state() == before
