"""Records on which processes of any versions agree: a new record replaces exactly the bytes that were read.

A record that one version reads and writes again may differ as text from another version's, so rewritten text is never
compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar, cast

import redis

from bridge.state import scripts
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none, to_members

__all__ = ["AgreedRecords"]


class _Record(Protocol):
    @property
    def raw(self) -> bytes | None: ...


_R = TypeVar("_R", bound=_Record)


class AgreedRecords(Generic[_R]):
    """Records in fields of hashes. `kind`: a dataclass with the fields `raw` and `later`; `names`: of its members.

    Every method raises `StateUnavailable`.
    """

    def __init__(self, client: redis.Redis, kind: type[_R], names: Mapping[str, str]) -> None:
        self._kind, self._names = kind, names
        self._compare_and_set = scripts.register(client, __file__, "compare_and_set")

    def read(self, key: str, field: str, text: bytes) -> _R | None:
        """The record in the bytes of a field; None if they are not one, which is logged once."""
        return record_or_none(self._kind, text, place=f"{key} {field}", names=self._names)

    def compare_and_set(self, key: str, field: str, old: _R | None, new: _R) -> _R:
        """Replace `old` by `new`; returns the record that is stored now, `new` or another process's.

        An unreadable record is replaced.
        """
        expected: bytes = b"" if old is None else old.raw or self._text(old)
        text = self._text(new)
        while True:
            with state_errors():
                stored = cast("bytes", self._compare_and_set(keys=[key], args=[field, expected, text]))
            record = self.read(key, field, stored)
            if record is not None:
                return record
            if stored == text:
                raise AssertionError("a record of ours is readable")
            expected = stored

    def _text(self, record: _R) -> bytes:
        return json.dumps(to_members(record, names=self._names), separators=(",", ":")).encode()
