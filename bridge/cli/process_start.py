"""What `web`, `worker`, `beat` and `dispatch` do first: services, logs, and a state server that is safe to use."""

from __future__ import annotations

import os
import time

import structlog

from bridge.cli.common import load_services
from bridge.errors import StateUnavailable
from bridge.monitoring import logs, state_checks
from bridge.runtime.parent_pipe import end_with_parent
from bridge.services import Services
from bridge.settings import environment, ignore_library_settings
from bridge.state.data_directory import UMASK
from bridge.state.running import process_id
from bridge.state.upgrade import make_current, register
from bridge.telemetry.switch import telemetry_of

__all__ = ["start_process"]

_RETRY_SECONDS = 1.0


def start_process(name: str, *, wait: bool = True) -> Services:
    """The services of a long-running process, with logs configured and the state server checked.

    `wait`: wait for a state server that is not up yet. Raises `ConfigError`, also for a server that would lose data or
    belongs to another bridge.
    """
    os.umask(UMASK)
    services = load_services()
    telemetry_of(environment())  # an invalid setting is one clear line here, before anything forks
    if services.settings.end_with_stdin:
        end_with_parent()
    stderr = logs.configure(services.settings.log_level, services.settings.log_format)
    if ignored := ignore_library_settings():
        structlog.get_logger(__name__).warning(
            "environment_ignored", process=name, names=ignored, remedy="unset them; bridge.yaml says what is used"
        )
    for vendor, problem in services.broken_vendors.items():
        structlog.get_logger(__name__).warning("vendor_left_out", process=name, vendor=vendor, problem=problem)
    said = ""
    while True:
        try:
            state_checks.require_safe_state(services.state)
            make_current(services.state, process_id(name), services.now())
            state_checks.require_same_bridge(services.state, services.config.bridge)
            register(services.state, process_id(name), services.config.digest, services.now())
            services.journal.mark_buckets()
            return services
        except StateUnavailable as error:
            if not wait:
                return services
            if str(error) != said:
                stderr.write(f"{name}: waiting for the state server: {error}\n")
                said = str(error)
            time.sleep(_RETRY_SECONDS)
