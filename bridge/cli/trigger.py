"""`trigger`: sends a sample webhook of a vendor, signed like the real one, to a running bridge."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from bridge.cli.common import format_option, known_name, load_services
from bridge.cli.output import print_list, say

if TYPE_CHECKING:
    from bridge.config.model import Source
    from bridge.services import Services

__all__ = ["trigger"]

_COLUMNS = ("number", "status", "outcome", "request_id", "milliseconds")
_TIMEOUT_SECONDS = 10.0
_UNREACHABLE = 69
_URL = "http://127.0.0.1:8080"
#: Unexpected status -> what to do about it.
_REMEDIES = {
    401: "that bridge has another webhook secret than this configuration; give both the same",
    404: "that bridge has no such source, or the source has a token: give it with --token",
    503: "the source is paused or the state server away: attempt-bridge doctor",
}


def _web_address(ctx: click.Context, param: click.Parameter, given: str) -> str:
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter(f'"{given}" is no web address; write it like {_URL}')
    return given.rstrip("/")


@click.command()
@click.argument("vendor")
@click.argument("sample", required=False)
@click.option("--list", "only_list", is_flag=True, help="Name the vendor's samples and send nothing.")
@click.option("--source", "source_name", help="The source to send to, if the vendor has several.")
@click.option("--url", callback=_web_address, default=_URL, show_default=True, help="Where the bridge listens.")
@click.option("--token", help="The token of the source's address: the file has only its hash once it is read.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 10_000), help="How often.")
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the body: result.first=Uma.")
@click.option("--bad-signature", is_flag=True, help="Sign with another secret; 401 is expected.")
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
    output: str,
) -> None:
    """Send a sample webhook of VENDOR, signed with the source's secret.

    The same sample is the same attempt: the first is published, every further one is a duplicate.
    """
    services = load_services()
    known_name(vendor, services.vendors, "vendor")
    samples = _samples(vendor)
    if only_list:
        click.echo("\n".join(samples))
        return
    source = _source(services, vendor, source_name)
    body = _changed(samples[known_name(sample, samples, "sample")] if sample else next(iter(samples.values())), changes)
    raw = json.dumps(body, ensure_ascii=False).encode()
    secret = next(iter(source.credentials.get(services.vendors[vendor].secret_credential or "", ())), "")
    headers = _headers(vendor, raw, f"not-{secret}" if bad_signature else secret)
    # Without the token wherever it is shown.
    door = f"{url}/webhooks/{source.name}"
    answers = _send(door, token, raw, headers, times)
    print_list(answers, _COLUMNS, output, empty="nothing was sent")
    expected = (401,) if bad_signature else range(200, 300)
    unexpected = [answer["status"] for answer in answers if answer["status"] not in expected]
    for status in dict.fromkeys(unexpected):
        remedy = _REMEDIES.get(status, "is that address a bridge? Give another --url")
        say(f"Error: {door} answered {status}. Remedy: {remedy}")
    ctx.exit(1 if unexpected else 0)


def _samples(vendor: str) -> dict[str, Any]:
    """Name -> body of the webhooks among the vendor's fixtures: first those that make a final result, then those that
    point to one."""
    folder = Path(str(import_module(_package(vendor)).__file__)).parent / "fixtures"
    found: dict[int, dict[str, Any]] = {0: {}, 1: {}, 2: {}}
    for path in sorted(folder.glob("*.in.json")):
        case = json.loads(path.read_text())
        if "webhook" in case:
            name = path.name.removesuffix(".in.json")
            becomes = json.loads(path.with_name(f"{name}.out.json").read_text())
            readings = becomes if isinstance(becomes, list) else []
            final = any(one.get("result", {}).get("grading") == "final" for one in readings)
            points = any("pointer" in one for one in readings)
            # Samples that need an option of their own come last.
            found[2 if "options" in case else 0 if final else 1 if points else 2][name] = case["webhook"]
    return found[0] | found[1] | found[2]


def _package(vendor: str) -> str:
    return f"bridge.vendors.{vendor.replace('-', '_')}"


def _headers(vendor: str, raw: bytes, secret: str) -> dict[str, str]:
    """What the vendor's simulator would send with these bytes: its own code, not the adapter's."""
    from bridge import clock  # noqa: PLC0415 - `--help` must be quick

    variants = import_module(f"{_package(vendor)}.contract").VARIANTS
    bench = next(iter(variants.values()))(clock.now)
    return {"content-type": "application/json", **bench.sign(raw, secret)}


def _source(services: Services, vendor: str, name: str | None) -> Source:
    fitting = {one.name: one for one in services.config.sources.values() if one.vendor == vendor}
    if name is not None:
        return fitting[known_name(name, fitting, f"source of {vendor}")]
    if len(fitting) != 1:
        raise click.UsageError(
            f"{services.config.path} has {len(fitting)} sources of {vendor}"
            + (f"; say which: --source {' | '.join(fitting)}" if fitting else "; add one, see bridge.example.yaml")
        )
    return next(iter(fitting.values()))


def _changed(body: Any, changes: tuple[str, ...]) -> Any:
    for change in changes:
        path, _, text = change.partition("=")
        *parents, last = path.split(".")
        place = body
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if "=" not in change or not isinstance(place, dict):
            raise click.BadParameter(f'--set "{change}" names no member; write it like result.first=Uma')
        try:
            place[last] = json.loads(text)
        except json.JSONDecodeError:
            place[last] = text
    return body


def _send(door: str, token: str | None, raw: bytes, headers: dict[str, str], times: int) -> list[dict[str, Any]]:
    import requests  # noqa: PLC0415 - `--help` must be quick

    from bridge import clock  # noqa: PLC0415

    address, answers = f"{door}/{token}" if token else door, []
    with requests.Session() as session:
        session.trust_env = False
        for number in range(1, times + 1):
            began = clock.monotonic()
            try:
                answer = session.post(address, data=raw, headers=headers, timeout=_TIMEOUT_SECONDS)
            except requests.RequestException as error:
                say(f"Error: {door}: {type(error).__name__}. Remedy: `attempt-bridge up`, or another --url")
                click.get_current_context().exit(_UNREACHABLE)
            answers.append({"number": number, "status": answer.status_code, **_told(answer)})
            answers[-1]["milliseconds"] = round((clock.monotonic() - began) * 1000, 1)
    return answers


def _told(answer: Any) -> dict[str, Any]:
    """The bridge's own members of an answer; another server's page has none."""
    try:
        document = answer.json()
    except ValueError:
        document = {}
    told = document if isinstance(document, dict) else {}
    return {"outcome": told.get("outcome"), "request_id": told.get("request_id")}
