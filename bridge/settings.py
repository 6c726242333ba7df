"""Process settings from the environment: `ATTEMPT_BRIDGE_*`, or `ATTEMPT_BRIDGE_*_FILE` naming a file with the value.

The only module that reads the environment. Sources and subscriptions are configured in bridge.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from environs import EnvError, FileAwareEnv

from bridge.errors import ConfigError
from bridge.text import text_problem

__all__ = [
    "PREFIX",
    "Settings",
    "environment",
    "ignore_library_settings",
    "process_environment",
    "read_api_token",
    "read_settings",
    "wants_no_colours",
]

PREFIX = "ATTEMPT_BRIDGE_"
#: Variables that our libraries read themselves and that would win over bridge.yaml: with `CELERY_BROKER_URL`, Celery
#: sends every task to another broker.
_LIBRARY_PREFIXES = ("CELERY", "KOMBU_", "GUNICORN_", "GEVENT", "FLASK_", "WERKZEUG_", "PROMETHEUS_")
_LIBRARY_NAMES = frozenset(
    {
        "AUTOSCALE_KEEPALIVE",
        "C_BENCH",
        "C_BENCH_EVERY",
        "C_FAKEFORK",
        "C_FORCE_ROOT",
        "C_IMPDEBUG",
        "C_REMDEBUG",
        "C_STRICT_APP",
        "C_WARN_APP",
        "C_WNOCONF",
        "DISABLE_TRACEBACKS",
        "DJANGO_SETTINGS_MODULE",
        "EVENTLET_NOBLOCK",
        "FORKED_BY_MULTIPROCESSING",
        "FORWARDED_ALLOW_IPS",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MP_LOG",
        "NOSETPS",
        "PICKLE_PROTOCOL",
        "PORT",
        "REMAP_SIGTERM",
        "SENDFILE",
        "TIMER_DEBUG",
        "USE_FAST_LOCALS",
        "WEB_CONCURRENCY",
    }
)
#: What was ignored: no longer in the environment, but `${NAME}` in bridge.yaml may name it.
_ignored: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`state` and `broker` override the file: `up` hands the embedded server's addresses to its children this way."""

    config: Path = Path("bridge.yaml")
    state: str | None = field(default=None, repr=False)
    broker: str | None = field(default=None, repr=False)
    log_level: str = "info"
    log_format: str = "auto"
    #: How many times faster the bridge rechecks; for demos only.
    time_scale: float = 1.0
    #: Whether callers on this machine need not sign in; for demos only.
    open_access: bool = False
    #: Whether the standard input is a pipe from the parent: a part ends when it closes.
    end_with_stdin: bool = False
    #: An open file with the text of `config` as it was checked; a process that reloads starts again with it.
    config_descriptor: int | None = None


def environment() -> Mapping[str, str]:
    """The environment as it was at the start, for `${NAME}` in bridge.yaml and for the parts of `up`."""
    return {**_ignored, **os.environ}  # noqa: TID251 - this is the one place


def process_environment() -> Mapping[str, str]:
    """The environment as libraries in this process see it."""
    return dict(os.environ)  # noqa: TID251 - this is the one place


def wants_no_colours() -> bool:
    """Whether the environment asks for text without colours: NO_COLOR (https://no-color.org), or a dumb terminal."""
    ours = environment()
    return bool(ours.get("NO_COLOR")) or ours.get("TERM") == "dumb"


def ignore_library_settings() -> tuple[str, ...]:
    """Remove what libraries would read from the environment; the names of all that was removed so far.

    Call it before the libraries are imported: some read it on import.
    """
    for name in list(os.environ):  # noqa: TID251 - this is the one place
        if name.upper().startswith(_LIBRARY_PREFIXES) or name in _LIBRARY_NAMES:
            _ignored[name] = os.environ.pop(name)  # noqa: TID251 - this is the one place
    return tuple(sorted(_ignored))


def read_api_token() -> str | None:
    """The token for another bridge's API, or None. Raises `ConfigError` for a file that cannot be read."""
    env = FileAwareEnv(prefix=PREFIX)
    try:
        token: str | None = env.str("TOKEN", None)
    except (EnvError, ValueError) as error:
        raise ConfigError(f"environment: {str(error).rstrip('.')}; see .env.example") from error
    return token and token.strip()


def read_settings() -> Settings:
    """All settings, or one `ConfigError` with every problem."""
    env = FileAwareEnv(eager=False, prefix=PREFIX)
    try:
        settings = Settings(
            config=env.path("CONFIG", Path("bridge.yaml")),
            state=env.str("STATE", None),
            broker=env.str("BROKER", None),
            log_level=env.str("LOG_LEVEL", "info"),
            log_format=env.str("LOG_FORMAT", "auto"),
            time_scale=env.float("TIME_SCALE", 1.0),
            open_access=env.bool("OPEN_ACCESS", False),
            end_with_stdin=env.bool("END_WITH_STDIN", False),
            config_descriptor=env.int("CONFIG_DESCRIPTOR", None),
        )
        env.seal()
    except (EnvError, ValueError) as error:
        # environs raises a plain ValueError for a file that cannot be read.
        raise ConfigError(f"environment: {str(error).rstrip('.')}; see .env.example") from error
    allowed = {
        "LOG_LEVEL": (settings.log_level, ("debug", "info", "warning", "error")),
        "LOG_FORMAT": (settings.log_format, ("auto", "json", "console")),
    }
    problems = [
        f"environment: {PREFIX}{name}: {value!r} is not one of {', '.join(choices)}"
        for name, (value, choices) in allowed.items()
        if value not in choices
    ]
    problems += [
        f"environment: {PREFIX}{name} {problem}"
        for name in ("STATE", "BROKER", "CONFIG")
        if (problem := text_problem(str(getattr(settings, name.lower()) or "")))
    ]
    if problems:
        raise ConfigError(*problems)
    return settings
