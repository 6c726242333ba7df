"""The secrets that an http subscription signs with, as they are written in bridge.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import ValidationError, fields

from bridge.config.fields import Moment, Secret
from bridge.config.section import SectionSchema
from bridge.net.standard_webhooks import SigningSecret, key_of, secret_problem

__all__ = ["SigningSecrets"]

#: Each adds a signature to every request.
_MOST_SECRETS = 10
_REMEDY = "Remedy: attempt-bridge subscriptions secret prints a new one"
_NULL: dict[str, Any] = {"null": f"is empty. {_REMEDY}"}


def _problem(text: str) -> str | None:
    problem = secret_problem(text)
    return problem and f"{problem}. {_REMEDY}"


class _EntrySchema(SectionSchema):
    secret = Secret(_problem, required=True)
    expires = Moment()


class _Entry(fields.Field[SigningSecret]):
    """A secret, or a section with the secret and the time at which it expires."""

    default_error_messages = _NULL

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> SigningSecret:
        if not isinstance(value, Mapping):
            return SigningSecret(str(Secret(_problem).deserialize(value)))
        entry = _EntrySchema().load(value)
        return SigningSecret(str(entry["secret"]), entry.get("expires"))


class SigningSecrets(fields.List[SigningSecret]):
    """A list of secrets, the newest first, each only once."""

    def __init__(self) -> None:
        super().__init__(_Entry(), error_messages={"invalid": 'must be a list such as ["${{ENV_NAME}}"]'})

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > _MOST_SECRETS:
            raise ValidationError(f"has {len(value)} secrets. Remedy: at most {_MOST_SECRETS}; remove expired ones")
        entries = cast("list[SigningSecret]", super()._deserialize(value, attr, data, **rest))
        keys = [key_of(entry.value) for entry in entries]
        repeated = {
            place: [f"is the same secret as secrets[{keys.index(key)}]. Remedy: remove one of them"]
            for place, key in enumerate(keys)
            if key in keys[:place]
        }
        if repeated:
            raise ValidationError(repeated)
        return entries
