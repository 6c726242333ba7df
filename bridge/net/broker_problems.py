"""Why a broker cannot be used, and what to do about it: the errors of kombu, py-amqp, redis-py and sockets in words."""

from __future__ import annotations

import re
import socket

import redis
from amqp import exceptions as amqp
from redis.sentinel import MasterNotFoundError

from bridge.errors import clip
from bridge.net.tls import tls_problem

__all__ = ["Problem", "broker_problem"]

#: (what is wrong, remedy).
Problem = tuple[str, str]

_PASSWORD = ("it refuses the user name or password", "correct them in its address")
_PERMISSION = ("its user lacks a permission", "allow that user the commands and keys of the queue (ACL SETUSER)")
_MEMORY = ("it has no free memory", "free memory there, or raise its maxmemory")
_READ_ONLY = ("it is a read-only replica", "name the primary in its address")
_LOADING = ("it is loading its data", "none needed; delivery resumes by itself")
_DISK = ("it cannot write to its disk", "free disk space there")
_NOT_A_LIST = ("the key of the queue is not a list", "use another `queue`, or delete that key")
_NO_PRIMARY = ("no sentinel names a running primary", "correct hosts and name in its address, or wait for a failover")
#: Types of redis-py -> problem. Its texts quote the failed command, and so the event: they are never shown.
_REDIS: tuple[tuple[type[Exception], Problem], ...] = (
    (redis.exceptions.AuthenticationError, _PASSWORD),
    (redis.exceptions.AuthorizationError, _PERMISSION),
    (redis.exceptions.NoPermissionError, _PERMISSION),
    (redis.exceptions.OutOfMemoryError, _MEMORY),
    (redis.exceptions.ReadOnlyError, _READ_ONLY),
    (redis.exceptions.BusyLoadingError, _LOADING),
    (MasterNotFoundError, _NO_PRIMARY),
)
#: First word of an error reply that redis-py has no type for -> problem.
_REPLIES = {"WRONGTYPE": _NOT_A_LIST, "MISCONF": _DISK, "NOAUTH": _PASSWORD, "WRONGPASS": _PASSWORD, "OOM": _MEMORY}
_REPLY = re.compile(r"(?:.* of pipeline caused error: )?(?P<code>[A-Z]{3,20})\b", re.DOTALL)
_TIMEOUT = ("it does not answer in time", "check its load, the network and firewalls")


def broker_problem(error: BaseException | None) -> Problem:
    """(what is wrong, remedy) of an error of a broker's connection; the most specific of its causes decides."""
    tls = tls_problem(error)
    if tls is not None:
        text, _, remedy = tls.partition(". Remedy: ")
        return text, remedy
    cause, outermost = error, error
    while cause is not None:
        result = _amqp_problem(cause) or _redis_problem(cause) or _socket_problem(cause)
        if result is not None:
            return result
        cause = cause.__cause__ or cause.__context__
    return f"{type(outermost).__name__}", "check that it is up, and that its address names this kind of broker"


def _amqp_problem(error: BaseException) -> Problem | None:
    if isinstance(error, amqp.AccessRefused) and "login was refused" in str(error).lower():
        return _PASSWORD
    if isinstance(error, amqp.NotAllowed):
        text = clip(error)
        if "vhost" in text and "not found" in text:
            return (
                f"its virtual host does not exist: {text}",
                "correct the path of its address, or add it there",
            )
        if "access to vhost" in text:
            return f"its user may not use the virtual host: {text}", "rabbitmqctl set_permissions"
        return text, "allow it at the broker"
    if isinstance(error, amqp.AccessRefused):
        return f"its user lacks a permission: {clip(error)}", "rabbitmqctl set_permissions"
    if isinstance(error, amqp.ConnectionForced):
        return f"it closed the connection: {clip(error)}", "check whether it was shut down"
    return None


def _redis_problem(error: BaseException) -> Problem | None:
    for kind, problem in _REDIS:
        if isinstance(error, kind):
            return problem
    if isinstance(error, redis.ResponseError):
        reply = _REPLY.match(str(error))
        code = reply["code"] if reply else ""
        return _REPLIES.get(code, (f"it refuses the command: {code or 'unknown reply'}", "see its log"))
    if isinstance(error, redis.exceptions.InvalidResponse):
        return "it does not speak the Redis protocol", "correct scheme and port of its address"
    if isinstance(error, redis.TimeoutError):
        return _TIMEOUT
    return None


def _socket_problem(error: BaseException) -> Problem | None:
    if isinstance(error, socket.gaierror):
        return "its host name does not resolve", "correct the host in its address, or the DNS"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "start it, or correct host and port of its address"
    if isinstance(error, TimeoutError):
        return _TIMEOUT
    if isinstance(error, ConnectionError):
        return "it closed the connection", "check that it is up, and that its address names this kind of broker"
    if isinstance(error, PermissionError | FileNotFoundError):
        return "its socket cannot be opened", "correct the path in its address, and check who may use it"
    return None
