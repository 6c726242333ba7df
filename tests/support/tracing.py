"""A tracer that keeps the spans which have ended, and puts nothing on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from bridge.telemetry import tracing
from bridge.telemetry.tracing import Attributes, failure_word

__all__ = ["KeepingTracer", "Kept", "keeping"]


@dataclass
class Kept:
    """A span."""

    tracer: KeepingTracer
    name: str
    kind: str
    attributes: dict[str, Any]
    number: int
    #: Its parent's traceparent; "" for a root.
    parent: str = ""
    link: str = ""
    reason: str = ""

    @property
    def traceparent(self) -> str:
        return f"00-{('a' if self.number else '0') * 32}-{self.number:016x}-01"

    def set(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def fail(self, reason: str) -> None:
        self.reason = reason

    def end(self) -> None:
        self.tracer.ended.append(self)

    @contextmanager
    def active(self) -> Iterator[None]:
        before, self.tracer.within = self.tracer.within, self
        try:
            yield
        finally:
            self.tracer.within = before

    def __enter__(self) -> Self:
        self._active = self.active()
        self._active.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._active.__exit__(None, None, None)
        if error is not None:
            self.fail(failure_word(error))
        self.end()


@dataclass
class KeepingTracer:
    """`ended`: the spans that have ended, in that order."""

    ended: list[Kept] = field(default_factory=list)
    within: Kept | None = None
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def start(self, name: str, kind: str, attributes: Attributes, *, parent: str, root: bool, link: str) -> Kept:
        above = parent or ("" if root or self.within is None else self.within.traceparent)
        return Kept(self, name, kind, dict(attributes), next(self.numbers), above, link)

    def current(self) -> Kept:
        # As the SDK's: one whose ids are zeros.
        return self.within or Kept(self, "none", "", {}, 0)

    def named(self, name: str) -> list[Kept]:
        return [span for span in self.ended if span.name == name]


@contextmanager
def keeping() -> Iterator[KeepingTracer]:
    """This process traces while the block runs."""
    tracer = KeepingTracer()
    tracing.use(tracer)
    try:
        yield tracer
    finally:
        tracing.use(None)
