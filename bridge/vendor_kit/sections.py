"""The section of each vendor in `docs/vendors.md`: an example, its credentials and its options. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bridge.errors import ConfigError
from bridge.sdk.options import plain
from bridge.sdk.vendor import Option, Vendor
from bridge.text import duration_text
from bridge.vendor_kit import markers

__all__ = ["example_value", "sections", "variable"]

_HEADING = "\n## "
_NOT_SIMULATED = "Not simulated: `demo` and `scripts/simulate` leave this vendor out.\n"
#: Kind of a value -> the value in an example.
_VALUES = {"str": '"..."', "bool": "true", "int": "1", "decimal": "0.5", "duration": "1d"}


def sections(text: str, vendors: Mapping[str, Vendor], simulated: Collection[str], *, other: str) -> str:
    """The document with the generated part of each vendor's section; a vendor without a section gets one at the end.

    `simulated`: names of the vendors with a simulator. `other`: the generated part that is not about one vendor. Raises
    `ConfigError` for a section of a vendor that does not exist.
    """
    gone = [name for name in markers.marked_names(text) if name != other and name not in vendors]
    if gone:
        raise ConfigError(f"docs/vendors.md has a section on {gone[0]}, which is not a vendor. Remedy: delete it")
    for name, vendor in vendors.items():
        if markers.begin(name) not in text:
            text = f"{text.rstrip()}\n{_HEADING}{vendor.title}\n\n{markers.begin(name)}\n{markers.end(name)}\n"
        before, _, after = text.partition(markers.begin(name))
        by_hand = before.rpartition(_HEADING)[2] + after.partition(markers.end(name))[2].partition(_HEADING)[0]
        part = "\n".join(_part(vendor, name in simulated, example="```yaml" not in by_hand))
        text = markers.replaced(text, name, part)
    return text


def _part(vendor: Vendor, simulated: bool, *, example: bool) -> Iterator[str]:
    if example:
        yield f"```yaml\n{_example(vendor)}```\n"
    if vendor.credentials:
        yield "| credential | what it is |\n|---|---|"
        for name, credential in vendor.credentials.items():
            optional = "" if credential.required else "; optional"
            rotated = "; a list while it is being changed, the new one first" if credential.many else ""
            yield f"| `{name}` | {credential.help}{rotated}{optional} |"
        yield ""
    if vendor.options:
        yield "| option | values (default first) | meaning |\n|---|---|---|"
        for name, option in vendor.options.items():
            yield f"| `{name}` | {_values(option)} | {option.help} |"
        yield ""
    if not simulated:
        yield _NOT_SIMULATED
    if not (vendor.credentials or vendor.options):
        yield "It has no credentials and no options.\n"


def _example(vendor: Vendor) -> str:
    """A source in bridge.yaml, with everything that it requires."""
    secrets = {
        name: f'["${{{variable(vendor, name)}}}"]' if credential.many else f'"${{{variable(vendor, name)}}}"'
        for name, credential in vendor.credentials.items()
        if credential.required
    }
    lines = [f"  {vendor.name}:", f"    vendor: {vendor.name}"]
    if secrets:
        lines.append(f"    credentials: {{{', '.join(f'{name}: {value}' for name, value in secrets.items())}}}")
    needed = {name: example_value(option) for name, option in vendor.options.items() if option.required}
    if needed:
        lines.append(f"    options: {{{', '.join(f'{name}: {value}' for name, value in needed.items())}}}")
    if vendor.split is not None and vendor.verify is None:
        lines.append(f'    webhook: {{token: "${{{variable(vendor, "webhook_token")}}}"}}')
    return "sources:\n" + "".join(f"{line}\n" for line in lines)


def variable(vendor: Vendor, name: str) -> str:
    """The variable of the environment for a secret of a source, such as `CIRRUS_TOKEN`."""
    return f"{vendor.name}_{name}".upper().replace("-", "_")


def example_value(option: Option) -> str:
    """What an example sets, as YAML."""
    kind = {"list": "str", "mapping": option.values}.get(option.kind, option.kind)
    value = option.choices[0] if option.choices else _VALUES[kind]
    return {"list": f"[{value}]", "mapping": f'{{"...": {value}}}'}.get(option.kind, value)


def _values(option: Option) -> str:
    """What may be written, the default first."""
    kind = f"a {option.kind}" if option.kind in ("list", "mapping") else ""
    if option.choices:
        values = ", ".join(f"`{choice}`" for choice in _default_first(option.default, option.choices))
        return f"{kind} of {values}" if kind else values
    if option.required:
        return f"{kind}, required" if kind else "required"
    if option.kind == "bool":
        return "`true`, `false`" if option.default else "`false`, `true`"
    if option.default is None:
        return "none"
    if option.kind == "duration":
        return f"`{duration_text(option.default)}`"
    default = f"`{json.dumps(plain(option.default), ensure_ascii=False) if kind else option.default}`"
    return f"{kind}; {default}" if kind else default


def _default_first(default: Any, choices: Collection[str]) -> list[str]:
    return sorted(choices, key=lambda choice: choice != default)
