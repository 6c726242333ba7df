"""`vendors`: the vendors that this bridge knows; for authors, checking the folder of one and writing a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

import bridge
from bridge import registry
from bridge.cli.exit_codes import DONE, FAILED
from bridge.cli.options import format_option, known_name
from bridge.cli.output import print_check, print_list, say
from bridge.cli.vendor_report import Report, run_suites
from bridge.sdk.vendor import Vendor
from bridge.vendor_kit.new_vendor import NewVendor, name_problem

__all__ = ["vendors"]

_COLUMNS = ("name", "title", "webhook", "streams", "recheck", "expectations", "sittings", "simulated", "origin")
_SUITES = Path("tests/contract")
_GUIDE = "docs/adding-a-vendor.md"


@click.group()
def vendors() -> None:
    """List vendors; check the files of one or write those of a new one."""


@vendors.command("list")
@format_option
def list_(output: str) -> None:
    """List the vendors that a source may name, with what each can do.

    WEBHOOK is signed, token (the address is secret) or none. ORIGIN is bridge, or the package that the vendor comes
    from. A vendor that cannot be loaded is named on stderr, with its file and the remedy.
    """
    print_list(_rows(), _COLUMNS, output, empty="no vendors")
    for problem in registry.broken().values():
        say(problem)


@vendors.command()
@click.argument("name")
@click.pass_context
def check(ctx: click.Context, name: str) -> None:
    """Run the contract tests over one vendor; exit with 1 if one fails.

    Works in a checkout of the repository, with its development tools (scripts/setup --dev).
    """
    root = _checkout()
    if root is None:
        raise click.UsageError(
            "vendors check runs the tests of the repository, which an installed bridge does not have. Remedy: run it "
            "in a checkout, with the vendor's package installed there"
        )
    if find_spec("pytest") is None:
        raise click.UsageError("pytest is not installed. Remedy: scripts/setup --dev")
    if name in registry.broken():
        print_check("failure", registry.broken()[name])
        ctx.exit(FAILED)
    known_name(name, registry.vendors(), "vendor")
    say(f"running {_SUITES} over {name}")
    report = run_suites(root, name, registry.package(name))
    _print(report, name)
    ctx.exit(DONE if report.is_good else FAILED)


@vendors.command()
@click.argument("name")
@click.option("--package", is_flag=True, help="Write a package of its own, which is installed beside the bridge.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Directory to write into; default: bridge/vendors of the checkout, or for a package the current directory.",
)
def new(name: str, package: bool, into: Path | None) -> None:
    """Write the files of the smallest vendor, which pass `vendors check`; never overwrite anything.

    NAME is in lower case, with hyphens. Outside a checkout, and with --into a directory other than bridge/vendors, the
    vendor gets a package of its own.
    """
    problem = name_problem(name)
    if problem is not None:
        raise click.UsageError(problem)
    if name in registry.broken():
        raise click.UsageError(f"the name is taken: {registry.broken()[name]}")
    if name in registry.vendors():
        raise click.UsageError(f"the name is taken, by {registry.package(name)}. Remedy: choose another name")
    root = _checkout()
    folder = None if root is None else root / "bridge" / "vendors"
    own_package = package or folder is None or (into is not None and into.resolve() != folder.resolve())
    vendor = NewVendor(name, own_package=own_package)
    try:
        place = vendor.write(into or (folder if folder is not None and not own_package else Path()))
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} exists. Remedy: choose another name or --into") from error
    except OSError as error:
        problem = f"cannot write {error.filename}: {error.strerror}"
        raise click.ClickException(f"{problem}. Remedy: choose another directory with --into") from error
    click.echo(place)
    for number, step in enumerate(_next_steps(name, place, own_package), start=1):
        say(f"{number}. {step}")


def _checkout() -> Path | None:
    """The checkout that this bridge runs from; None if it is installed without its tests."""
    root = Path(bridge.__file__).parents[1]
    return root if (root / _SUITES / "conftest.py").is_file() else None


def _rows() -> Iterator[Mapping[str, Any]]:
    for name, vendor in registry.vendors().items():
        yield _row(name, vendor)
    for name, problem in registry.broken().items():
        if name not in registry.vendors():
            yield {"name": name, "problem": problem}


def _row(name: str, vendor: Vendor) -> Mapping[str, Any]:
    package = registry.package(name)
    return {
        "name": name,
        "title": vendor.title,
        "webhook": "none" if vendor.split is None else "token" if vendor.verify is None else "signed",
        "streams": list(vendor.polls),
        "recheck": vendor.recheck is not None,
        "expectations": vendor.expect is not None,
        "sittings": vendor.sittings,
        "simulated": find_spec(f"{package}.simulator") is not None,
        "origin": "bridge" if package.startswith("bridge.vendors.") else package,
        "problem": registry.broken().get(name),
    }


def _print(report: Report, name: str) -> None:
    for failure in report.failures:
        print_check("failure", f"{failure.what}: {failure.message}. {failure.place}. Remedy: see {failure.section}")
    for reason, count in report.skipped.items():
        print_check("warning", f"{count} skipped: {reason}")
    counts = f"{report.passed} passed, {report.failed} failed, {sum(report.skipped.values())} skipped"
    print_check("ok" if report.is_good else "failure", f"{name}: {report.problem or counts}")
    if report.failures:
        say(f"One test with its traceback: .venv/bin/pytest {_SUITES} --vendor {name} -k {report.failures[0].test}")


def _next_steps(name: str, place: Path, own_package: bool) -> Iterator[str]:
    if own_package:
        yield f"pip install --editable {place}    in the environment of the bridge"
    yield f"attempt-bridge vendors check {name}    in a checkout: passes before you change anything"
    yield f"Edit the files: {_GUIDE} goes through them one by one"
    yield f"Add a source with vendor: {name} to bridge.yaml, then run attempt-bridge sources test SOURCE"
    if not own_package:
        yield "scripts/docs    writes its part of docs/vendors.md"
