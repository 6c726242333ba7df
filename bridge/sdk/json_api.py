"""Calls to an API that answers in JSON, with the errors that every vendor folder must raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorUnavailable
from bridge.sdk.strict_json import parse_answer
from bridge.sdk.vendor import SourceFacts, VendorCalls

__all__ = ["JsonApi", "key_in_header", "rows_of"]


class JsonApi:
    """The API of one source; `headers` go with every call. Messages hold neither addresses nor credentials."""

    def __init__(self, source: SourceFacts, calls: VendorCalls, headers: Mapping[str, str]) -> None:
        self._name, self._base_url = source.name, source.base_url.rstrip("/")
        self._credentials = ", ".join(source.credentials)
        self._calls, self._headers = calls, dict(headers)

    def now(self) -> float:
        """UNIX seconds."""
        return self._calls.now()

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, missing: Any = None) -> Any:
        """The document in the answer. `missing`, if given, is returned for a 404: what is asked for is not there yet.

        Raises `VendorRefused` for 401 and 403, `VendorFault` for any other status but 200, `VendorUnavailable` for an
        answer that is not JSON, and what `calls.request` raises.
        """
        where = f"source {self._name}: GET {'/'.join(path.split('/')[:2])}"
        asked = [(name, str(value)) for name, value in (params or {}).items()]
        status, _, content = self._calls.request("GET", f"{self._base_url}/{path}", params=asked, headers=self._headers)
        if status == 404 and missing is not None:
            return missing
        if status in (401, 403):
            raise VendorRefused(f"{where}: HTTP {status}. Check base_url, {self._credentials}")
        if status != 200:
            raise VendorFault(f"{where}: HTTP {status}. Check base_url and the parameters")
        try:
            return parse_answer(content)
        except Unreadable as error:
            raise VendorUnavailable(f"{where}: {error}. Retried later", reason="bad_answer") from error


def key_in_header(header: str, credential: str, *, prefix: str = "") -> Callable[[SourceFacts, VendorCalls], JsonApi]:
    """A `Vendor.connect` whose calls all have this header: `prefix` and the first value of a credential."""

    def connect(source: SourceFacts, calls: VendorCalls) -> JsonApi:
        return JsonApi(source, calls, {header: f"{prefix}{source.credentials[credential][0]}"})

    return connect


def rows_of(document: Any, place: str) -> list[Any]:
    """The list at a place in an answer, such as `data.items`; "": the answer itself. Raises `VendorUnavailable`."""
    value = document
    for name in place.split(".") if place else ():
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        raise VendorUnavailable(f"{place or 'answer'}: must be a list. Retried later", reason="bad_answer")
    return value
