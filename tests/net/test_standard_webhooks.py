"""Signing of pushes, checked with independent implementations; time is an argument."""

from __future__ import annotations

import base64
import subprocess
import sys
import time

import pytest
from standardwebhooks.webhooks import Webhook

from bridge.errors import ConfigError, DeliveryFailed
from bridge.net import ed25519
from bridge.net.standard_webhooks import (
    Signer,
    SigningSecret,
    key_of,
    new_ed25519_secret,
    new_hmac_secret,
    public_key_of,
    secret_problem,
)

NEW, OLD = (new_hmac_secret(bytes([number]) * 32) for number in (1, 2))
PAIR = new_ed25519_secret(bytes([3]) * 32)
#: What the reference server of Standard Webhooks, which is written in Rust, has in its own tests.
REFERENCE_SEED = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
REFERENCE_KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
REFERENCE_PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
REFERENCE = (
    ("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1_614_265_330.0),
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
)
BODY = '{"name": "Zoë"}'.encode()


def signatures(signer: Signer, now: float) -> list[str]:
    return signer.headers("e-1", BODY, now)["webhook-signature"].split(" ")


def alone(secret: str, now: float) -> list[str]:
    return signatures(Signer([SigningSecret(secret)]), now)


def test_the_official_library_verifies_each_secret() -> None:
    headers = Signer([SigningSecret(NEW), SigningSecret(OLD)]).headers("e-1", BODY, time.time())
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(BODY, headers) == {"name": "Zoë"}


def test_signatures_are_in_the_order_of_the_secrets_and_an_expired_one_is_not_used_from_its_moment_on() -> None:
    signer = Signer([SigningSecret(NEW), SigningSecret(OLD, expires=1000.0)])
    assert signatures(signer, 999.9) == alone(NEW, 999.9) + alone(OLD, 999.9)
    assert signatures(signer, 1000.0) == alone(NEW, 1000.0)


def test_ed25519_signs_as_the_reference_server_does_with_either_form_of_the_private_key() -> None:
    (event_id, body, now), signature = REFERENCE
    for secret in (REFERENCE_KEY, f"whsk_{REFERENCE_SEED}"):
        assert secret_problem(secret) is None
        assert public_key_of(secret) == REFERENCE_PUBLIC_KEY
        assert Signer([SigningSecret(secret)]).headers(event_id, body, now)["webhook-signature"] == signature
    assert new_ed25519_secret(base64.b64decode(REFERENCE_SEED)) == REFERENCE_KEY
    assert key_of(REFERENCE_KEY) == key_of(f"whsk_{REFERENCE_SEED}") == base64.b64decode(REFERENCE_SEED)


def test_ed25519_signs_as_in_rfc_8032() -> None:
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    assert ed25519.public_key(seed).hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert ed25519.signing_with(seed)(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_secret_of_each_kind_signs_during_a_change_and_the_official_library_still_verifies_its_own() -> None:
    now = time.time()
    headers = Signer([SigningSecret(PAIR), SigningSecret(OLD)]).headers("e-1", BODY, now)
    assert [each.partition(",")[0] for each in headers["webhook-signature"].split(" ")] == ["v1a", "v1"]
    assert headers["webhook-signature"].split(" ") == alone(PAIR, now) + alone(OLD, now)
    assert Webhook(OLD).verify(BODY, headers) == {"name": "Zoë"}
    assert public_key_of(OLD) is None


@pytest.mark.usefixtures("starts_processes")
def test_the_library_for_ed25519_is_loaded_only_where_a_private_key_is_used() -> None:
    program = (
        "import sys; from bridge.net.standard_webhooks import *; Signer([SigningSecret(new_hmac_secret(bytes(32)))]); "
        "print('nacl' in sys.modules); new_ed25519_secret(bytes(32)); print('nacl' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["False", "True"]


def test_nothing_is_signed_when_every_secret_has_expired_and_the_failure_names_no_secret() -> None:
    signer = Signer([SigningSecret(NEW, expires=2000.0), SigningSecret(OLD, expires=1000.0)])
    with pytest.raises(DeliveryFailed) as caught:
        signer.headers("e-1", BODY, 2000.0)
    assert str(caught.value) == (
        "not sent: the last of `secrets` expired at 1970-01-01T00:33:20Z. Remedy: add a new secret to the "
        "subscription, then run attempt-bridge config reload"
    )
    assert (caught.value.reason, caught.value.charged) == ("secrets_expired", True)
    assert "whsec" not in repr(SigningSecret(NEW, expires=1.0))


def test_a_signer_without_a_secret_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match="no secret"):
        Signer([])


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 'does not start with "whsec_" or "whsk_"'),
        ("whsec_not base64!", "is not base64 after whsec_"),
        ("whsec_" + base64.b64encode(b"0" * 23).decode(), "holds 23 bytes, 24 to 64 are needed"),
        (NEW, None),
        (PAIR, None),
        (REFERENCE_PUBLIC_KEY, "is a public key, which cannot sign; the private key starts with whsk_"),
        (
            "whsk_" + base64.b64encode(b"0" * 33).decode(),
            "holds 33 bytes, 32 (private key) or 64 (private and public key)",
        ),
        (PAIR[:-8] + "AAAAAA==", "holds a public key that does not belong to its private key"),
        ("whsk_%", "is not base64 after whsk_"),
    ],
)
def test_a_secret_that_is_mistyped_is_named(secret: str, problem: str | None) -> None:
    message = secret_problem(secret)
    assert message == problem or (problem is not None and message is not None and message.startswith(problem))
