"""Every vendor that signs: the bytes as sent are accepted, everything else is `BadSignature` and nothing worse."""

from __future__ import annotations

import json

import pytest

from bridge.errors import BadSignature


@pytest.fixture
def sent(signed):
    """A webhook as sent: body and headers with lower-case names."""
    raw, headers = signed.bench.webhook(signed.finish(signed.stream, signed.clock.now - 60))
    return raw, {name.lower(): value for name, value in headers.items()}


def verify(stage, raw, headers, *secrets):
    stage.vendor.verify(raw, headers, secrets or (stage.bench.secret,), stage.clock.now)


def test_a_webhook_as_sent_is_accepted(signed, sent):
    verify(signed, *sent)


def test_one_changed_byte_anywhere_is_refused(signed, sent):
    raw, headers = sent
    for position in range(0, len(raw), 37):
        tampered = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises(BadSignature):
            verify(signed, tampered, headers)


def test_a_body_that_is_printed_again_is_refused(signed, sent):
    raw, headers = sent
    again = json.dumps(json.loads(raw), indent=1).encode()

    with pytest.raises(BadSignature):
        verify(signed, again, headers)


def test_a_missing_signature_is_refused(signed, sent):
    raw, headers = sent
    signature_names = set(signed.bench.sign(raw, "x"))

    for name in signature_names:
        with pytest.raises(BadSignature):
            verify(signed, raw, {other: value for other, value in headers.items() if other != name})


@pytest.mark.parametrize("garbage", ["", " ", "é", "=", "AAAA", "null", "a" * 5_000, "\x00", ",", "🙂"])
def test_garbage_for_a_signature_is_refused(signed, sent, garbage):
    raw, headers = sent
    for name in signed.bench.sign(raw, "x"):
        with pytest.raises(BadSignature):
            verify(signed, raw, {**headers, name: garbage})


def test_both_secrets_are_accepted_while_one_is_rotated_and_no_third(signed, sent):
    raw, _ = sent

    for secret in ("new-phrase", "old-phrase"):
        verify(signed, raw, signed.bench.sign(raw, secret), "new-phrase", "old-phrase")
    with pytest.raises(BadSignature):
        verify(signed, raw, signed.bench.sign(raw, "third-phrase"), "new-phrase", "old-phrase")


@pytest.mark.parametrize("seconds", [-3_600, 3_600])
def test_a_signed_time_far_from_ours_is_refused_and_one_of_now_is_not(signed, sent, seconds):
    """Only where the vendor signs a time: `sign_at(raw, secret, moment)` of its bench makes such headers."""
    raw, _ = sent
    sign_at = getattr(signed.bench, "sign_at", None)
    if sign_at is None:
        # Then nothing but the raw bytes counts: the same webhook is as good at any other time.
        signed.vendor.verify(raw, sent[1], (signed.bench.secret,), signed.clock.now + seconds)
        return

    verify(signed, raw, sign_at(raw, signed.bench.secret, signed.clock.now))
    with pytest.raises(BadSignature):
        verify(signed, raw, sign_at(raw, signed.bench.secret, signed.clock.now + seconds))
