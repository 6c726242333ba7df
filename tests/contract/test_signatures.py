"""Every vendor that signs: the bytes as sent are accepted, everything else is `BadSignature` and nothing worse."""

from __future__ import annotations

import json

import pytest

from bridge.errors import BadSignature


@pytest.fixture
def sent(stage):
    """A webhook as sent: body and headers with lower-case names."""
    if stage.vendor.verify is None:
        pytest.skip(f"{stage.vendor.title} does not sign")
    stream = next(iter(stage.vendor.polls))
    raw, headers = stage.bench.webhook(stage.bench.finish(stream, int(stage.clock.now) - 60))
    return raw, {name.lower(): value for name, value in headers.items()}


def verify(stage, raw, headers, *secrets):
    stage.vendor.verify(raw, headers, secrets or (stage.bench.secret,), stage.clock.now)


def test_a_webhook_as_sent_is_accepted(stage, sent):
    verify(stage, *sent)


def test_one_changed_byte_anywhere_is_refused(stage, sent):
    raw, headers = sent
    for position in range(0, len(raw), 37):
        tampered = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises(BadSignature):
            verify(stage, tampered, headers)


def test_a_body_that_is_printed_again_is_refused(stage, sent):
    raw, headers = sent
    again = json.dumps(json.loads(raw), indent=1).encode()

    with pytest.raises(BadSignature):
        verify(stage, again, headers)


def test_a_missing_signature_is_refused(stage, sent):
    raw, headers = sent
    signature_names = set(stage.bench.sign(raw, "x"))

    for name in signature_names:
        with pytest.raises(BadSignature):
            verify(stage, raw, {other: value for other, value in headers.items() if other != name})


@pytest.mark.parametrize("garbage", ["", " ", "é", "=", "AAAA", "null", "a" * 5_000, "\x00", ",", "🙂"])
def test_garbage_for_a_signature_is_refused(stage, sent, garbage):
    raw, headers = sent
    for name in stage.bench.sign(raw, "x"):
        with pytest.raises(BadSignature):
            verify(stage, raw, {**headers, name: garbage})


def test_both_secrets_are_accepted_while_one_is_rotated_and_no_third(stage, sent):
    raw, _ = sent

    for secret in ("new-phrase", "old-phrase"):
        verify(stage, raw, stage.bench.sign(raw, secret), "new-phrase", "old-phrase")
    with pytest.raises(BadSignature):
        verify(stage, raw, stage.bench.sign(raw, "third-phrase"), "new-phrase", "old-phrase")
