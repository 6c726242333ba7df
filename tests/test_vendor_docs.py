"""The generated parts of the documents say what the vendor folders and the contract declare."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.sdk import vendor as sdk
from bridge.sdk.json_api import JsonApi
from bridge.sdk.vendor import Credential, Option, Quota
from bridge.vendor_kit import markers
from bridge.vendor_kit.documents import DOCUMENTS, renewed, write
from bridge.vendor_kit.members import CONTRACT, members
from bridge.vendor_kit.overview import overview, titles
from bridge.vendor_kit.sections import sections
from bridge.vendors.classmarker import VENDOR
from tests.support.vendor_folders import VendorFolders, declaration, vendor_folders

__all__ = ["vendor_folders"]

ROOT = Path(__file__).parents[1]
BARE = replace(
    VENDOR,
    name="north-bay",
    title="North Bay",
    credentials={"api_key": Credential(help="the key"), "old_key": Credential(help="an old key", required=False)},
    options={},
    verify=None,
    polls={},
    look_back_limit=None,
    quota=Quota(calls=3000, per_seconds=86_400, resets_at="13:30"),
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_generated_parts_of_a_document_are_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == renewed(name, text), f"{name} is out of date. Remedy: scripts/docs"


# docs/vendors.md -----------------------------------------------------------------------------------------------------


def test_every_declared_word_is_in_the_overview() -> None:
    sheet = VENDOR.sheet
    text = overview({"classmarker": VENDOR})
    facts = (*sheet.documented, *sheet.observed, *sheet.assumed, *sheet.ask)
    for said in (sheet.signs, sheet.identity, sheet.webhook_means, sheet.quota, sheet.look_back, *facts):
        assert said in text
    assert (
        "| `groups`, `links` | 30 calls an hour for each key, both streams together; default budget 30 per 1h |" in text
    )
    assert "| three months; at most 89d are requested |" in text


def test_what_a_vendor_lacks_is_said_in_the_overview() -> None:
    row = next(line for line in overview({"north-bay": BARE}).splitlines() if line.startswith("| `north-bay`"))
    assert "| none: watches only |" in row
    assert "default budget 3000 per 1d from 13:30 UTC |" in row
    assert row.endswith("| three months |")


def test_a_new_vendor_gets_a_section_with_an_example_its_credentials_and_its_options() -> None:
    options = {
        "form": Option(help="form of dates", default="iso", choices=("unix", "iso")),
        "quizzes": Option(help="quizzes to read", default=(), kind="list"),
        "again": Option(help="read again", default=86_400.0, kind="duration"),
        "confirm": Option(help="ask the API", default=True, kind="bool"),
        "depth": Option(help="levels", default=2, kind="int"),
        "share": Option(help="a share", default="0.5", kind="decimal"),
        "since": Option(help="a year", kind="int"),
        "forms": Option(help="forms to read", kind="list", required=True),
        "marks": Option(help="what each form needs", kind="mapping", values="int", required=True),
        "zones": Option(help="zone of each form", kind="mapping", default={"a": "utc"}, choices=("utc", "cet")),
    }
    known = {"north-bay": replace(BARE, options=options)}
    text = sections("# Vendors\n", known, (), other="overview")
    assert (
        text
        == """# Vendors

## North Bay

<!-- scripts/docs: north-bay -->

```yaml
sources:
  north-bay:
    vendor: north-bay
    credentials: {api_key: "${NORTH_BAY_API_KEY}"}
    options: {forms: ["..."], marks: {"...": 1}}
    webhook: {token: "${NORTH_BAY_WEBHOOK_TOKEN}"}
```

| credential | what it is |
|---|---|
| `api_key` | the key |
| `old_key` | an old key; optional |

| option | values (default first) | meaning |
|---|---|---|
| `form` | `iso`, `unix` | form of dates |
| `quizzes` | a list; `[]` | quizzes to read |
| `again` | `1d` | read again |
| `confirm` | `true`, `false` | ask the API |
| `depth` | `2` | levels |
| `share` | `0.5` | a share |
| `since` | none | a year |
| `forms` | a list, required | forms to read |
| `marks` | a mapping, required | what each form needs |
| `zones` | a mapping of `utc`, `cet` | zone of each form |

Not simulated: `demo` and `scripts/simulate` leave this vendor out.

<!-- /scripts/docs: north-bay -->
"""
    )
    assert sections(text, known, (), other="overview") == text


def test_what_is_written_by_hand_stays_and_an_example_by_hand_replaces_the_generated_one() -> None:
    by_hand = "## North Bay\n\nRead this.\n\n```yaml\nsources: {}\n```\n\n"
    text = f"\n{by_hand}{markers.begin('north-bay')}OVERTAKEN{markers.end('north-bay')}\nAnd this.\n"
    new = sections(text, {"north-bay": BARE}, {"north-bay"}, other="overview")
    assert new.startswith(f"\n{by_hand}{markers.begin('north-bay')}\n\n| credential |")
    assert new.endswith(f"{markers.end('north-bay')}\nAnd this.\n")
    assert "OVERTAKEN" not in new
    assert "Not simulated" not in new


def test_the_section_of_a_vendor_that_was_removed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"a section on gone, which is not a vendor. Remedy: delete it"):
        sections(f"{markers.begin('gone')}{markers.end('gone')}", {"north-bay": BARE}, (), other="overview")


def test_the_documents_leave_out_vendors_in_packages_of_their_own(vendor_folders: VendorFolders) -> None:
    vendor_folders.installed("acme-tideway", "tideway", "acme_tideway", {"__init__.py": declaration("tideway")})
    vendor_folders.folder("north_bay", {"__init__.py": declaration("north-bay")})
    for name in ("README.md", "docs/vendors.md"):
        text = renewed(name, (ROOT / name).read_text())
        assert ("tideway" in text.lower(), "north-bay" in text.lower()) == (False, True)


def test_the_readme_names_all_vendors() -> None:
    assert titles({"a": VENDOR}) == "ClassMarker"
    assert titles({"a": VENDOR, "b": BARE, "c": VENDOR}) == "ClassMarker, North Bay and ClassMarker"


# docs/vendor-contract.md ---------------------------------------------------------------------------------------------


def test_every_class_of_the_contract_has_its_table() -> None:
    classes = {name for name in sdk.__all__ if isinstance(getattr(sdk, name), type)}
    assert classes - {cls.__name__ for group in CONTRACT.values() for cls in group} == set()


def test_every_member_is_in_its_table_with_type_default_and_meaning() -> None:
    for cls in (cls for group in CONTRACT.values() for cls in group if is_dataclass(cls)):
        declared = [member.name for member in members(cls) if member.default != "-"]
        assert [name for name in declared if name.isidentifier()] == [field.name for field in fields(cls)]
    known = {member.name: member for member in members(sdk.Vendor)}
    assert known["name"].default is None
    assert known["verify"].type == "function or None"
    assert known["verify"].meaning.startswith("`(raw, headers, secrets, now)`: the number of the secret that matched")
    assert known["verify"].meaning.endswith("the webhook address must contain a token.")
    assert known["options"].default == "{}"
    api = {member.name: member for member in members(JsonApi)}
    assert api["get(path, params, *, missing)"].meaning.startswith("The document in the answer.")
    assert {member.name for member in members(sdk.Memory)} == {
        "recall(topic, names)",
        "remember(topic, facts, *, seconds)",
    }


def test_a_member_that_nobody_explains_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "silent.py").write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass Silent:\n    #: Said.\n    said: int\n    unsaid: int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from silent import Silent

    with pytest.raises(ConfigError, match=r"Silent.unsaid is not explained. Remedy: write a #: line above it"):
        members(Silent)


# Markers -------------------------------------------------------------------------------------------------------------


def test_only_what_is_between_the_markers_is_written(tmp_path: Path) -> None:
    for name in DOCUMENTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    file = tmp_path / "docs/vendor-contract.md"
    whole = file.read_text()
    begin, end = markers.begin("contract"), markers.end("contract")
    file.write_text(f"before\n{begin}\nOVERTAKEN\n{end}\nafter\n")
    write(tmp_path)
    assert file.read_text() == f"before\n{begin}{whole.partition(begin)[2].partition(end)[0]}{end}\nafter\n"


@pytest.mark.parametrize("text", ["", markers.begin("a"), markers.end("a"), f"{markers.end('a')} {markers.begin('a')}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no place for the part a\. Remedy: put"):
        markers.replaced(text, "a", "new")
