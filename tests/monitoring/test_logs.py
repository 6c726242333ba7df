"""What reaches the log, and what never does."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.errors import StateUnavailable, Unreadable
from bridge.monitoring import logs
from bridge.telemetry import tracing
from tests.support.tracing import keeping
from tests.support.web import captured_logs

ROOT = Path(__file__).parents[2]
CANARY = "CANARY-sam@example.test"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    with captured_logs() as stream:
        yield stream


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_fixed_fields(output: io.StringIO) -> None:
    logs.get_logger("bridge.web.hooks", source="eu").info("webhook_rejected", reason="bad_signature")
    (line,) = lines(output)
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("version")
    assert line == {
        "event": "webhook_rejected",
        "level": "info",
        "logger": "bridge.web.hooks",
        "service": "attempt-bridge",
        "source": "eu",
        "reason": "bad_signature",
    }


def test_a_line_within_a_span_names_its_trace_and_no_other_does(output: io.StringIO) -> None:
    log = logs.get_logger("bridge.web.hooks")
    with keeping():
        log.info("webhook_rejected")
        with tracing.start("webhook", tracing.SERVER, {}) as span:
            log.info("webhook_rejected")
    log.info("webhook_rejected")
    _, trace, number, _ = span.traceparent.split("-")
    assert [(line.get("trace_id"), line.get("span_id")) for line in lines(output)] == [
        (None, None),
        (trace, number),
        (None, None),
    ]


def test_every_line_carries_the_name_of_its_module(output: io.StringIO) -> None:
    structlog.get_logger("workers.dispatch.lane").warning("broker_unreachable", subscription="crm")
    structlog.get_logger("workers.dispatch.lane").bind(subscription="crm").info("broker_recovered")
    logs.get_logger("bridge.web.hooks").info("webhook_rejected")
    logging.getLogger("workers.inbound.celery_guard").error("refused")
    names = [line["logger"] for line in lines(output)]
    assert names == ["workers.dispatch.lane"] * 2 + ["bridge.web.hooks", "workers.inbound.celery_guard"]


def test_every_logger_has_the_name_of_its_module() -> None:
    others = []
    for path in (path for folder in ("bridge", "workers") for path in (ROOT / folder).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text()
        for call in ast.walk(ast.parse(text)) if "get_logger" in text else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("get_logger"):
                name = ast.unparse(call.args[0]) if call.args else ""
                if name not in ("__name__", f"'{module}'") and module != "bridge.monitoring.logs":
                    others.append(f"{module}:{call.lineno} {name}")
    assert others == []


def test_a_line_for_people_leaves_out_what_all_lines_share() -> None:
    with captured_logs(fmt="console") as output:
        logs.get_logger("bridge.web.hooks").info("webhook_rejected", reason="bad_signature")
        logging.getLogger("celery.worker").warning("consumer lost")
    for line, word in zip(output.getvalue().splitlines(), ("bad_signature", "consumer lost"), strict=True):
        assert word in line
        assert "attempt-bridge" not in line
        assert "version" not in line


def test_lines_of_the_standard_library_have_the_same_form(output: io.StringIO) -> None:
    logging.getLogger("celery.worker").warning("consumer lost after %d s", 3)
    (line,) = lines(output)
    assert (line["event"], line["logger"], line["level"]) == ("consumer lost after 3 s", "celery.worker", "warning")


@pytest.mark.parametrize("name", ["body", "email", "headers", "query", "secret", "token", "url"])
def test_a_field_that_may_hold_a_person_or_a_secret_is_taken_out(output: io.StringIO, name: str) -> None:
    logs.get_logger("x").error("said_too_much", **{name: CANARY})
    assert lines(output)[0][name] == "[removed]"
    assert CANARY not in output.getvalue()


@pytest.mark.parametrize("error", [ValueError(CANARY), KeyError(CANARY), Unreadable(f'duplicate key "{CANARY}"')])
def test_an_exception_is_logged_as_type_and_place_without_its_text(output: io.StringIO, error: Exception) -> None:
    def fails() -> None:
        raise error

    try:
        fails()
    except (ValueError, KeyError, Unreadable):
        logs.get_logger("x").exception("it_failed")
        logging.getLogger("y").exception("it failed")
    for line in lines(output):
        assert line["error_type"] == type(error).__name__
        assert line["at"][-1].endswith(" fails")
        assert "test_logs.py" in line["at"][-1]
    assert CANARY not in output.getvalue()


def test_the_text_of_our_own_server_errors_is_logged(output: io.StringIO) -> None:
    error = StateUnavailable("state server: TimeoutError")
    error.__cause__ = OSError(CANARY)
    logs.get_logger("x").warning("postponed", exc_info=error)
    (line,) = lines(output)
    assert (line["error"], line["cause_type"]) == ("state server: TimeoutError", "OSError")
    assert CANARY not in output.getvalue()


def test_libraries_do_not_log_at_debug_level(output: io.StringIO) -> None:
    logging.getLogger("urllib3.connectionpool").warning("Retrying after: /hooks?token=%s", CANARY)
    logging.getLogger("kombu").info("message: %s", CANARY)
    logging.getLogger("anything").debug("detail: %s", CANARY)
    assert output.getvalue() == ""


def test_the_level_holds_for_our_own_lines(output: io.StringIO) -> None:
    logs.configure("warning", "json", stream=output)
    logs.get_logger("x").info("small_talk")
    logs.get_logger("x").warning("trouble")
    assert [line["event"] for line in lines(output)] == ["trouble"]


def test_a_stream_that_is_no_terminal_gets_json(output: io.StringIO) -> None:
    logs.configure("info", "auto", stream=output)
    logs.get_logger("x").info("hello")
    assert lines(output)[0]["event"] == "hello"


def test_the_console_format_is_not_json(output: io.StringIO) -> None:
    logs.configure("info", "console", stream=output)
    logs.get_logger("x").info("hello", source="eu")
    assert "hello" in output.getvalue()
    assert not output.getvalue().startswith("{")


def quoting(action: Any) -> None:
    """Runs `action(error)` while an exception that quotes a person is being handled."""
    try:
        f"{CANARY}\ud800".encode()
    except UnicodeEncodeError as error:
        action(ValueError(CANARY).with_traceback(error.__traceback__))
        action(error)


LIBRARY = logging.getLogger("celery.app.trace")


@pytest.mark.parametrize(
    "action",
    [
        lambda error: LIBRARY.error("Task %(name)s raised: %(exc)s", {"name": "bridge.poll", "exc": repr(error)}),
        lambda error: LIBRARY.error("Task raised %r\n%s", error, repr(error), exc_info=True),
        lambda error: LIBRARY.error(f"Task raised {error}", exc_info=error),
        lambda error: LIBRARY.error("Task raised", exc_info=error, stack_info=True),
        lambda error: LIBRARY.info("again because of %s", error),
        lambda error: LIBRARY.info("again because of %r", [error]),
        lambda error: LIBRARY.error(error),
        lambda error: LIBRARY.error("%d of %s", CANARY, CANARY),
        lambda error: LIBRARY.critical("Can't decode message body: %r [%s]", error, CANARY.encode()),
        lambda error: warnings.warn(f"Exception raised outside body: {error!r}", RuntimeWarning, stacklevel=1),
        lambda error: sys.excepthook(type(error), error, None),
        lambda error: threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None))),
    ],
)
def test_no_library_logs_the_text_of_an_exception(
    output: io.StringIO, capsys: pytest.CaptureFixture[str], action: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure("info", "json", stream=output)
        quoting(action)
    assert lines(output)
    assert "CANARY" not in output.getvalue() + "".join(capsys.readouterr())


def test_a_librarys_error_keeps_its_words_numbers_and_types(output: io.StringIO) -> None:
    error = KeyError(CANARY)
    LIBRARY.error("Task %(name)s: %(exc)s after %(runs)d", {"name": "bridge.poll", "exc": repr(error), "runs": 3})
    LIBRARY.warning("lost: %r, sent %s to %s", error, "SIGTERM", CANARY)
    LIBRARY.info("%s ready.", "celery@host")
    assert [line["event"] for line in lines(output)] == [
        "Task bridge.poll: … after 3",
        "lost: KeyError, sent SIGTERM to …",
        "celery@host ready.",
    ]


def test_an_exception_that_ends_a_thread_is_a_line(output: io.StringIO) -> None:
    thread = threading.Thread(target=lambda: json.loads(CANARY))
    thread.start()
    thread.join()
    (line,) = lines(output)
    assert (line["event"], line["where"], line["error_type"]) == ("unhandled_error", "thread", "JSONDecodeError")
    assert CANARY not in output.getvalue()
