"""The services that take messages, by way of Apprise: the only module that imports it.

Apprise has 150 services. Those that speak HTTP through `requests`, and e-mail, are used; one that opens its own
connections or starts programs is refused, because neither time nor addresses could be bounded there.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from bridge.errors import ConfigError, DeliveryFailed
from bridge.notify.calls import Answer, Calls, GuardedRequests, GuardedSMTP
from bridge.notify.messages import Message

__all__ = ["Service", "open_services"]

#: Longest time of one message to one service, seconds.
SERVICE_SECONDS = 15.0
_MAIL = "apprise.plugins.email"
#: Modules through which a service could reach the network or the machine without `requests`.
_OWN_WAYS = frozenset({"asyncio", "ctypes", "paho", "select", "slixmpp", "socket", "ssl", "subprocess", "websocket"})
#: Statuses that do not concern the message: the service is busy.
_BUSY = (408, 425, 429)
_once = threading.Lock()


class Service:
    """One service. Not thread-safe."""

    def __init__(self, plugin: Any, place: str, *, allow_private: bool) -> None:
        """`place`: the member of bridge.yaml with its address."""
        self._plugin, self._place, self._allow_private = plugin, place, allow_private
        self.is_mail = type(plugin).__module__.startswith(_MAIL)
        #: Its name, for people.
        self.name = str(plugin.service_name)

    def send(self, message: Message, *, seconds: float, now: float) -> tuple[DeliveryFailed | None, int | None]:
        """(None for success or what failed, status of the last HTTP answer). `seconds`: longest time; `now`: UNIX."""
        calls = Calls(self._allow_private, min(seconds, SERVICE_SECONDS), now)
        apprise = _apprise()
        # Apprise would wait between calls. Here the subscription's rate limits them, and a service that is called too
        # often reports so.
        self._plugin.request_rate_per_sec = 0.0
        try:
            with calls.made():
                accepted = self._plugin.notify(
                    title=message.title,
                    body=message.body,
                    notify_type=apprise.NotifyType(message.urgency),
                    body_format=apprise.NotifyFormat.TEXT,
                )
        except DeliveryFailed as error:
            failed: DeliveryFailed | None = DeliveryFailed(f"{self.name}: {error}", reason=error.reason)
        except apprise.exception.AppriseException as error:
            problem = f"{self.name}: {type(error).__name__}. Remedy: check {self._place}"
            failed = DeliveryFailed(problem, reason="receiver_refused", about_event=True)
        else:
            failed = None if accepted else self._failure(calls.answers)
        status = next((answer.status for answer in reversed(calls.answers) if answer.status), None)
        return failed, status

    def _failure(self, answers: Sequence[Answer]) -> DeliveryFailed:
        """The failure of a message that was not accepted: retry what may pass, give up what will not."""
        away = [answer for answer in answers if answer.problem or _is_busy(answer)]
        refused = [answer for answer in answers if (answer.status or 0) >= 300 or (answer.code or 0) >= 500]
        answer = (away or refused or [Answer()])[-1]
        what = answer.problem or f"answered {answer.status or answer.code}"
        if away:
            reason = "unreachable" if answer.problem else "throttled" if answer.status == 429 else "receiver_error"
            return DeliveryFailed(f"{self.name}: {what}", reason=reason, retry_after=answer.retry_after)
        if not refused:
            text = f"{self.name}: it did not accept the message. Remedy: check {self._place}"
            return DeliveryFailed(text, reason="receiver_refused", about_event=True)
        redirect = answer.status is not None and answer.status < 400
        what += ": redirects are not followed" if redirect else ""
        text = f"{self.name}: {what}. Remedy: check {self._place}"
        reason = "redirect" if redirect else "receiver_refused"
        return DeliveryFailed(text, reason=reason, permanent=True, about_event=True)


def _is_busy(answer: Answer) -> bool:
    status, code = answer.status or 0, answer.code or 0
    return status >= 500 or status in _BUSY or 400 <= code < 500


def open_services(urls: Sequence[str], *, where: str, allow_private: bool) -> list[Service]:
    """The services of addresses; connects to nothing. `where`: their place in bridge.yaml, such as
    `subscriptions.ops.urls`.

    Raises `ConfigError` if Apprise is not installed, or for the first address that names no service.
    """
    apprise = _apprise(where)
    # No pictures from elsewhere, nothing on the disk.
    asset = apprise.AppriseAsset(
        app_id="Attempt Bridge",
        app_desc="Attempt Bridge",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        http_redirects=False,
        pgp_autogen=False,
        pem_autogen=False,
        storage_mode="memory",
    )
    services = []
    for place, url in enumerate(urls):
        plugin, at = apprise.Apprise.instantiate(url, asset=asset), f"{where}[{place}]"
        if plugin is None:
            scheme = url.partition("://")[0].lower()
            raise ConfigError(f"{at}: {_unknown(apprise, scheme)}")
        _guard()
        if not _is_guarded(type(plugin)):
            raise ConfigError(
                f"{at}: {plugin.service_name} is not supported: it does not use HTTP or mail. Remedy: use another"
            )
        services.append(Service(plugin, at, allow_private=allow_private))
    return services


def _unknown(apprise: Any, scheme: str) -> str:
    if scheme not in ("http", "https") and scheme not in apprise.plugins.N_MGR.schemas():
        return f'"{scheme[:30]}://" is not a service of Apprise. Remedy: see https://appriseit.com/services/'
    return "Apprise does not understand this address, or lacks a library for it. Remedy: compare it with \
https://appriseit.com/services/"


def _apprise(where: str = "urls") -> Any:
    """The library, quiet: its log quotes addresses and messages. Raises `ConfigError` if it is not installed."""
    try:
        # An optional dependency: import each part of it that is used.
        modules = [importlib.import_module(name) for name in ("apprise", "apprise.exception", "apprise.plugins")]
    except ImportError as error:
        raise ConfigError(
            f"{where}: Apprise, which transport notify needs, is not installed. Remedy: pip install 'apprise>=2.3,<2.4'"
        ) from error
    log = logging.getLogger("apprise")
    log.disabled = True
    return modules[0]


def _guard() -> None:
    """Replace the real modules by the guarded ones wherever Apprise imported them; repeating it costs little."""
    with _once:
        http, smtp = GuardedRequests("requests"), GuardedSMTP("smtplib")
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "apprise" and isinstance(module, ModuleType):
                if module.__dict__.get("requests") is sys.modules["requests"]:
                    vars(module)["requests"] = http
                if name.startswith(_MAIL) and module.__dict__.get("smtplib") is sys.modules["smtplib"]:
                    vars(module)["smtplib"] = smtp


def _is_guarded(plugin: type) -> bool:
    """Whether a kind of service reaches the network only through what is guarded."""
    name = plugin.__module__
    if name.startswith(_MAIL):
        return True
    package = ".".join(name.split(".")[:3])
    modules = [module for each, module in sys.modules.items() if each == package or each.startswith(f"{package}.")]
    members = [member for module in modules for member in vars(module).values() if isinstance(member, ModuleType)]
    own_ways = {member.__name__.partition(".")[0] for member in members} & _OWN_WAYS
    return any(isinstance(member, GuardedRequests) for member in members) and not own_ways
