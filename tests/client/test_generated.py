"""What is generated for the client fits the bridge: types, samples, signatures; and the package is whole when built."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

import attempt_bridge_client
from attempt_bridge_client import ConfigurationError, EventRejected, sign, verify
from attempt_bridge_client.samples import Samples
from bridge.net.standard_webhooks import (
    Signer,
    SigningSecret,
    new_ed25519_secret,
    new_hmac_secret,
    public_key_of,
)

CLIENT = Path(__file__).parents[2] / "client"
PACKAGE = CLIENT / "src/attempt_bridge_client"
NOW = 1_795_219_200.0
HMAC, PRIVATE = new_hmac_secret(bytes(range(32))), new_ed25519_secret(bytes(range(32)))
PUBLIC = str(public_key_of(PRIVATE))


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CLIENT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_types_are_those_of_the_schemas() -> None:
    """Where this fails: `python client/generate_types.py`."""
    assert script("generate_types").events() == (PACKAGE / "events.py").read_text()


def test_the_samples_are_made_of_the_vendors_fixtures() -> None:
    """Where this fails: `python client/generate_samples.py`, and read what has changed."""
    assert script("generate_samples").samples() == (PACKAGE / "samples.json").read_text()


# Signatures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [[HMAC], [PRIVATE], [HMAC, PRIVATE], [PRIVATE, HMAC]], ids=len)
def test_what_the_bridge_signs_is_verified_by_one_of_the_receivers_secrets(secrets: list[str]) -> None:
    body, _ = Samples().signed(Samples().attempt())
    ident = Samples().attempt()["id"]
    headers = Signer([SigningSecret(secret) for secret in secrets]).headers(ident, body, NOW)
    assert sign(body, ident, secrets, now=NOW) == headers
    for known, signing in ((HMAC, HMAC), (PUBLIC, PRIVATE)):
        if signing in secrets:
            assert verify(body, headers, known, now=NOW).id == ident
        else:
            with pytest.raises(EventRejected, match="made with none of the secrets"):
                verify(body, headers, known, now=NOW)
    assert verify(body, headers, [HMAC, PUBLIC], now=NOW).id == ident


def test_a_key_of_ed25519_without_pynacl_is_refused_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nacl", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'attempt-bridge-client\[ed25519\]'"):
        verify(b"", {}, PUBLIC)


# The package ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("starts_processes")
def test_the_wheel_has_its_types_its_samples_and_the_plugin_of_pytest(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"attempt_bridge_client-{attempt_bridge_client.__version__}-py3-none-any.whl"
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = set(archive.namelist())
    assert names >= {f"attempt_bridge_client/{path.name}" for path in PACKAGE.iterdir() if path.is_file()}
    assert "attempt_bridge_client/py.typed" in names
    (distribution,) = distributions(path=[str(installed)])
    (plugin,) = distribution.entry_points.select(group="pytest11")
    test = tmp_path / "test_receiver.py"
    test.write_text(
        "from attempt_bridge_client import verify\n\n\n"
        "def test_it(bridge_samples):\n"
        "    for vendor in bridge_samples.vendors:\n"
        "        body, headers = bridge_samples.signed(bridge_samples.attempt(vendor))\n"
        "        assert verify(body, headers, bridge_samples.secret).bridgevendor == vendor\n"
    )
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", plugin.value, "-p", "no:cacheprovider", str(test)]
    # The plugins of the others would take seconds.
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTEST_ADDOPTS", None)  # may name a plugin that is not there
    done = subprocess.run(pytest_run, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout
