"""Checks a source of bridge.yaml against what its vendor's folder declares: credentials, options, webhook, poll."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marshmallow import ValidationError

from bridge.config.fields import Secret, one_or_many
from bridge.config.model import PollConfig, Source, WebhookConfig
from bridge.config.source_options import read_options
from bridge.config.yaml_document import Document, KeyPath
from bridge.net.signatures import sha256_hex
from bridge.quota.windows import Window
from bridge.sdk.vendor import Credential, Vendor, streams
from bridge.text import did_you_mean, duration_text, parse_time_of_day

__all__ = ["check_source"]

_DAY = 86_400.0


def check_source(name: str, data: Mapping[str, Any], vendor: Vendor, document: Document) -> Source:
    """The source, from the valid parts of its section; what does not fit the vendor is added to the problems."""
    path = ("sources", name)
    webhook = _webhook(data.get("webhook") or {}, vendor, data, path, document)
    options = read_options(data.get("options", {}), vendor, (*path, "options"), document)
    poll = _poll(data.get("poll", {}), vendor, webhook.enabled, path, document)
    paused = data.get("paused", False)
    if poll.enabled and not paused and not streams(vendor, options):
        instead = "poll: {enabled: false}" if webhook.enabled else "paused: true"
        _report_nothing_listed(vendor, instead, (*path, "options"), document)
    return Source(
        name=name,
        vendor=vendor.name,
        base_url=data.get("base_url", vendor.base_url),
        credentials=_credentials(
            data.get("credentials", {}), vendor, webhook.enabled, (*path, "credentials"), document
        ),
        webhook=webhook,
        poll=poll,
        budget=_budget(data.get("budget", {}), vendor, (*path, "budget"), document),
        options=options,
        paused=paused,
    )


def _webhook(
    section: Mapping[str, Any], vendor: Vendor, data: Mapping[str, Any], path: KeyPath, document: Document
) -> WebhookConfig:
    if vendor.split is None:
        if key := next((key for key in ("enabled", "token") if section.get(key)), None):
            document.add((*path, "webhook", key), f"{vendor.title} sends no webhooks. Remedy: remove webhook")
        return WebhookConfig(enabled=False)
    tokens = tuple(sha256_hex(token) for token in section.get("token", ()))
    enabled = section.get("enabled", True)
    signed = vendor.verify is not None and vendor.secret_credential in data.get("credentials", {})
    at = (*path, "webhook", "token")
    if enabled and not tokens and not signed and not any(place[: len(at)] == at for place, _ in document.problems):
        document.add(
            at,
            f"missing: {vendor.title} does not sign its webhooks, so the address must end in a secret token. "
            'Remedy: token: "${ENV_NAME}", or webhook: {enabled: false}',
        )
    return WebhookConfig(enabled=enabled, token_sha256=tokens)


def _poll(
    section: Mapping[str, Any], vendor: Vendor, webhook_enabled: bool, path: KeyPath, document: Document
) -> PollConfig:
    limit = vendor.look_back_limit
    poll = PollConfig(enabled=bool(vendor.polls))
    if limit is not None:
        poll = replace(poll, look_back=min(poll.look_back, limit))
    poll = replace(poll, **section)
    if poll.enabled and not vendor.polls:
        document.add((*path, "poll", "enabled"), f"{vendor.title} has nothing to poll. Remedy: enabled: false")
    if limit is not None and poll.look_back > limit:
        document.add(
            (*path, "poll", "look_back"),
            f"{duration_text(poll.look_back)} is longer than the {duration_text(limit)} that {vendor.title} can list",
        )
    if poll.overlap >= poll.look_back:
        document.add(
            (*path, "poll", "overlap"),
            f"{duration_text(poll.overlap)} is not shorter than look_back, {duration_text(poll.look_back)}",
        )
    # Without webhooks and lists, attempts come only from rechecks of what operators expect.
    if not poll.enabled and not webhook_enabled and (vendor.polls or vendor.split is not None):
        remedy = "enable poll" if vendor.split is None else "enable one"
        document.add(path, f"neither webhook nor poll is enabled. Remedy: {remedy}, or write paused: true")
    return poll


def _report_nothing_listed(vendor: Vendor, instead: str, path: KeyPath, document: Document) -> None:
    """Report an empty list of what to poll: it is more often forgotten than meant, and nothing else would show it."""
    for name in dict.fromkeys(poll.per for poll in vendor.polls.values() if poll.per is not None):
        option = vendor.options[name]
        if not option.required:
            problem = f"is empty, so nothing is polled. Remedy: set it: {option.help}; or {instead}"
            document.add((*path, name), problem)


def _budget(section: Mapping[str, Any], vendor: Vendor, path: KeyPath, document: Document) -> Window:
    """The vendor's quota, with the file's values in place of its own; its reset stays while the period is a day."""
    calls = section.get("calls", vendor.quota.calls)
    per = section.get("per", vendor.quota.per_seconds)
    resets_at = section.get("resets")
    if resets_at is not None and per != _DAY:
        document.add((*path, "resets"), f"only a budget per 1d has a reset; this one is per {duration_text(per)}")
        resets_at = None
    if resets_at is None and vendor.quota.resets_at is not None and per == vendor.quota.per_seconds:
        resets_at = parse_time_of_day(vendor.quota.resets_at)
    return Window(calls, per, resets_at)


def _credentials(
    given: Mapping[str, Any], vendor: Vendor, webhook_enabled: bool, path: KeyPath, document: Document
) -> dict[str, tuple[str, ...]]:
    secrets: dict[str, tuple[str, ...]] = {}
    for name, declared in vendor.credentials.items():
        if given.get(name) is not None:
            secrets[name] = _secrets(given[name], declared, (*path, name), document)
        elif declared.required and (webhook_enabled or name != vendor.secret_credential):
            document.add((*path, name), f"missing: {declared.help}")
    for name in given.keys() - vendor.credentials.keys():
        document.add((*path, name), f"{vendor.title} has no such credential. {did_you_mean(name, vendor.credentials)}")
    return secrets


def _secrets(value: Any, declared: Credential, path: KeyPath, document: Document) -> tuple[str, ...]:
    if isinstance(value, list) and not declared.many:
        document.add(path, "must be one value, not a list")
        return ()
    secrets = []
    if value == []:
        document.add(path, "is an empty list")
    for place, item in enumerate(one_or_many(value)):
        try:
            secrets.append(str(Secret().deserialize(item)))
        except ValidationError as error:
            document.add_messages(error.messages, (*path, place) if isinstance(value, list) else path)
    return tuple(secrets)
