"""`trigger`: send a vendor's sample webhook, signed as the vendor would, to a running bridge."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import requests

from bridge import clock, registry
from bridge.cli.common import load_services
from bridge.cli.exit_codes import DONE, FAILED, UNAVAILABLE
from bridge.cli.options import DEFAULT_PORT, confirm_broad, format_option, known_name, known_vendor, yes_option
from bridge.cli.output import print_list, say
from bridge.config.model import Source
from bridge.errors import BridgeError
from bridge.ingest.sample_marks import marked
from bridge.net.timed_session import timed_session
from bridge.sdk.vendor import Ignored, Vendor
from bridge.services import Services
from bridge.settings import PREFIX, environment

__all__ = ["trigger"]

_COLUMNS = ("number", "status", "outcome", "request_id", "milliseconds")
_TIMEOUT_SECONDS = 10.0
_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
_TOKEN_VARIABLE = f"{PREFIX}WEBHOOK_TOKEN"
#: Unexpected status -> remedy.
_REMEDIES = {
    401: "give the bridge and this configuration the same webhook secret",
    404: "check the source's name; if its address has a token, give --token",
    503: "resume the source if it is paused; otherwise run attempt-bridge doctor",
}


def _web_address(ctx: click.Context, param: click.Parameter, given: str) -> str:
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter(f'"{given}" is not a valid web address. Write it as {_URL}')
    return given.rstrip("/")


def _webhook_token(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    """The token; the list of processes shows it only if it was given as an option."""
    if given is None:
        return environment().get(_TOKEN_VARIABLE)
    return sys.stdin.readline().strip() if given == "-" else given


@click.command()
@click.argument("vendor")
@click.argument("sample", required=False)
@click.option("--list", "only_list", is_flag=True, help="List the vendor's samples, the default first; send nothing.")
@click.option("--source", "source_name", help="Source to send to, if the vendor has several.")
@click.option("--url", callback=_web_address, default=_URL, show_default=True, help="Address of the bridge.")
@click.option(
    "--token",
    callback=_webhook_token,
    help=f"Token in the source's webhook address; default: {_TOKEN_VARIABLE}. - reads it from standard input. Other "
    "users of the machine can see a token given here.",
)
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 10_000), help="How many times to send.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change the body: result.first=Uma; repeatable.",
)
@click.option("--bad-signature", is_flag=True, help="Sign with a wrong secret; 401 is expected.")
@yes_option
@format_option
@click.pass_context
def trigger(
    ctx: click.Context,
    vendor: str,
    sample: str | None,
    only_list: bool,
    source_name: str | None,
    url: str,
    token: str | None,
    times: int,
    changes: tuple[str, ...],
    bad_signature: bool,
    yes: bool,
    output: str,
) -> None:
    """Send a vendor's sample webhook to a running bridge.

    It is signed with the source's secret. The default is the vendor's own test message, if there is one: it publishes
    nothing. Any other sample is marked as a test: its event has the attribute bridgetest, and its attempt id begins
    with "test:". Subscriptions get that event, so such a sample needs --yes, except in a demo. Samples without a
    result publish nothing. A sample is always the same attempt: sent again, it is a duplicate.
    """
    services = load_services()
    known_vendor(vendor, services.vendors, services.broken_vendors)
    declared = services.vendors[vendor]
    if declared.split is None:
        raise click.UsageError(
            f"{declared.title} sends no webhooks. Remedy: attempt-bridge sources poll SOURCE reads what it lists"
        )
    samples = _samples(declared)
    if not samples:
        raise click.ClickException(f"{declared.title} has no sample: fixtures/ has no webhook. Remedy: write one")
    if only_list:
        click.echo("\n".join(samples))
        return
    source = _source(services, vendor, source_name)
    name = known_name(sample, samples, "sample") if sample else next(iter(samples))
    body, is_safe = _prepared(declared, source, _changed(samples[name], changes))
    if not (is_safe or services.config.demo):
        confirm_broad(yes, f"would send {name} to {url}; its event is marked bridgetest and goes to every subscription")
    raw = json.dumps(body, ensure_ascii=False).encode()
    secret = next(iter(source.credentials.get(declared.secret_credential or "", ())), "")
    headers = _headers(declared, raw, f"not-{secret}" if bad_signature else secret)
    # For messages: without the token.
    webhook_url = f"{url}/webhooks/{source.name}"
    answers = _send(webhook_url, token, raw, headers, times)
    print_list(answers, _COLUMNS, output, empty="nothing was sent")
    expected = (401,) if bad_signature else range(200, 300)
    unexpected = [answer["status"] for answer in answers if answer["status"] not in expected]
    for status in dict.fromkeys(unexpected):
        remedy = _REMEDIES.get(status, "check --url: does a bridge listen there?")
        say(f"Error: {webhook_url} answered {status}. Remedy: {remedy}")
    ctx.exit(FAILED if unexpected else DONE)


def _prepared(vendor: Vendor, source: Source, body: Any) -> tuple[Any, bool]:
    """The body to send, and whether it is the vendor's own test message; anything else is marked as a test."""
    if _is_test_message(vendor, body, source.options):
        return body, True
    if not isinstance(body, dict):
        raise click.UsageError("this sample is not a JSON object, so it cannot be marked as a test. Choose another")
    return marked(body), False


def _is_test_message(vendor: Vendor, body: Any, options: Mapping[str, Any]) -> bool:
    try:
        content = None if vendor.split is None else vendor.split(body, options)
    except BridgeError:
        return False
    return isinstance(content, Ignored) and content.outcome == "test"


def _samples(vendor: Vendor) -> dict[str, Any]:
    """Name -> body of the vendor's sample webhooks: its test message, then those with a final result, then pointers."""
    folder = Path(str(import_module(registry.package(vendor.name)).__file__)).parent / "fixtures"
    defaults = {name: option.default for name, option in vendor.options.items()}
    ranked: dict[int, dict[str, Any]] = {-1: {}, 0: {}, 1: {}, 2: {}}
    for path in sorted(folder.glob("*.in.json")):
        case = json.loads(path.read_text())
        if "webhook" in case:
            name = path.name.removesuffix(".in.json")
            outcome = path.with_name(f"{name}.out.json")
            expected = json.loads(outcome.read_text()) if outcome.exists() else None
            items = expected if isinstance(expected, list) else []
            final = any(item.get("result", {}).get("grading") == "final" for item in items)
            is_pointer = any("pointer" in item for item in items)
            # Samples that need an option of their own come last.
            rank = 2 if "options" in case else 0 if final else 1 if is_pointer else 2
            ranked[-1 if _is_test_message(vendor, case["webhook"], defaults) else rank][name] = case["webhook"]
    return ranked[-1] | ranked[0] | ranked[1] | ranked[2]


def _headers(vendor: Vendor, raw: bytes, secret: str) -> dict[str, str]:
    """The headers of the vendor's simulator for these bytes: its own code, not the adapter's. Raises `ConfigError`."""
    headers = {"content-type": vendor.media_types[0]}
    if vendor.verify is None:
        return headers
    contract: Any = registry.contract(vendor.name)
    if contract is None:
        raise click.ClickException(
            f"{vendor.title} signs its webhooks, and its folder has no contract.py that could sign one. Remedy: write "
            "it, see docs/adding-a-vendor.md"
        )
    simulator = next(iter(contract.VARIANTS.values()))(clock.now)
    return {**headers, **simulator.sign(raw, secret)}


def _source(services: Services, vendor: str, name: str | None) -> Source:
    sources = {source.name: source for source in services.config.sources.values() if source.vendor == vendor}
    if name is not None:
        return sources[known_name(name, sources, f"source of {vendor}")]
    if not sources:
        raise click.UsageError(f"no source of {vendor} in {services.config.path}. Add one, see bridge.example.yaml")
    if len(sources) > 1:
        raise click.UsageError(f"{len(sources)} sources of {vendor}. Choose one: --source {' | '.join(sources)}")
    return next(iter(sources.values()))


def _changed(body: Any, changes: tuple[str, ...]) -> Any:
    for change in changes:
        path, _, text = change.partition("=")
        *parents, last = path.split(".")
        member = body
        for parent in parents:
            member = member.get(parent) if isinstance(member, dict) else None
        if "=" not in change or not isinstance(member, dict):
            raise click.BadParameter(f'--set "{change}" names no member of the body. Write it as result.first=Uma')
        try:
            member[last] = json.loads(text)
        except json.JSONDecodeError:
            member[last] = text
    return body


def _send(webhook_url: str, token: str | None, raw: bytes, headers: dict[str, str], times: int) -> list[dict[str, Any]]:
    address, answers = f"{webhook_url}/{token}" if token else webhook_url, []
    with timed_session() as session:
        for number in range(1, times + 1):
            started = clock.monotonic()
            try:
                answer = session.post(address, data=raw, headers=headers, timeout=_TIMEOUT_SECONDS)
            except requests.RequestException as error:
                say(f"Error: cannot reach {webhook_url}: {type(error).__name__}. Remedy: attempt-bridge up, or --url")
                click.get_current_context().exit(UNAVAILABLE)
            answers.append({"number": number, "status": answer.status_code, **_outcome(answer)})
            answers[-1]["milliseconds"] = round((clock.monotonic() - started) * 1000, 1)
    return answers


def _outcome(answer: Any) -> dict[str, Any]:
    """Outcome and request id as the bridge answered them; None where another server answered."""
    try:
        document = answer.json()
    except ValueError:
        document = {}
    members = document if isinstance(document, dict) else {}
    return {"outcome": members.get("outcome"), "request_id": members.get("request_id")}
