"""The first bridge.yaml for chosen vendors: a source of each with its secrets explained, and how to add a receiver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap

from bridge.sdk.vendor import Vendor
from bridge.vendor_kit.sections import example_value, variable

__all__ = ["environment_lines", "first_config"]

_WIDTH = 118
_TOKEN = "webhook_token"  # noqa: S105 - the end of a variable's name
_NEW_TOKEN = "# python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 - how to make one
_HEAD = """\
# Check this file with `attempt-bridge config check`. Secrets are variables of the environment: ${NAME}.
# Durations are written 250ms 5s 10m 2h 7d. `attempt-bridge config show` prints all keys with their defaults.

bridge:
  # Part of every event's source (/acme/sources/...): a-z, 0-9 and -, unique in the company. Do not change it later.
  name: acme
  # The address at which vendors and receivers reach this bridge, without a trailing slash.
  public_url: https://bridge.example.org
  # Default: an embedded server under data_dir, for one machine. Several machines need a Redis or Valkey of your own:
  # state: redis://localhost:6379/0
  # broker: redis://localhost:6379/1
  data_dir: ./data
  retention: {events: 30d, requests: 7d}

# Webhooks go to <public_url>/webhooks/<source>, followed by /<token> if the vendor does not sign them.
"""
_SUBSCRIPTIONS = """
# Who receives the events; docs/subscribing.md has the other transports. Without an entry they wait in the journal.
subscriptions: {}
#   crm:
#     transport: http
#     url: https://crm.example.org/hooks/attempts
#     secrets: ["${CRM_WEBHOOK_SECRET}"]     # attempt-bridge subscriptions secret
"""


def first_config(vendors: Mapping[str, Vendor]) -> str:
    """The text of bridge.yaml with a source for each vendor, named as the vendor."""
    sources = "".join(f"{line}\n" for vendor in vendors.values() for line in _source(vendor))
    return f"{_HEAD}sources:\n{sources}{_SUBSCRIPTIONS}"


def environment_lines(vendors: Mapping[str, Vendor]) -> str:
    """The variables that bridge.yaml refers to, without values, each below an explanation."""
    lines = ["# What bridge.yaml refers to as ${...}. Keep it private: chmod 600"]
    for vendor in vendors.values():
        for name, help_text in _secrets(vendor):
            lines += ["", *_comment(f"{vendor.title}: {help_text}", "")]
            lines += [_NEW_TOKEN] if name == _TOKEN else []
            lines.append(f"{variable(vendor, name)}=")
    return "\n".join(lines) + "\n"


def _secrets(vendor: Vendor) -> Iterator[tuple[str, str]]:
    """Name and explanation of what a source needs: credentials, and what authenticates its webhooks."""
    for name, credential in vendor.credentials.items():
        if credential.required or (name == vendor.secret_credential and vendor.verify is not None):
            yield name, credential.help
    if _needs_token(vendor):
        yield (
            "webhook_token",
            (
                "last part of the webhook's address, which must not be guessable: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
            ),
        )


def _needs_token(vendor: Vendor) -> bool:
    return vendor.split is not None and vendor.verify is None


def _source(vendor: Vendor) -> Iterator[str]:
    yield f"  # {vendor.title}: docs/vendors.md"
    yield f"  {vendor.name}:"
    yield f"    vendor: {vendor.name}"
    secrets = [(name, text) for name, text in _secrets(vendor) if name != _TOKEN]
    if secrets:
        yield "    credentials:"
    for name, text in secrets:
        yield from _comment(text, "      ")
        reference = f'"${{{variable(vendor, name)}}}"'
        yield f"      {name}: {f'[{reference}]' if vendor.credentials[name].many else reference}"
    if _needs_token(vendor):
        yield f'    webhook: {{token: "${{{variable(vendor, _TOKEN)}}}"}}'
    if vendor.polls:
        yield "    poll: {every: 5m, look_back: 7d}" if vendor.look_back_limit is None else "    poll: {every: 5m}"
    needed = {name: option for name, option in vendor.options.items() if option.required}
    needed |= {poll.per: vendor.options[poll.per] for poll in vendor.polls.values() if poll.per is not None}
    if needed:
        yield "    options:"
    for name, option in needed.items():
        yield from _comment(f"{option.help}. Write your own", "      ")
        yield f"      {name}: {example_value(option)}"


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in wrap(text, _WIDTH - len(indent), break_on_hyphens=False)]
