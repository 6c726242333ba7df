"""`config check` and `subscriptions test` of a notify subscription."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis

from bridge import cli
from bridge.state import keys
from tests.support.notified import chat_server
from tests.support.watches_api import TOKENS, access_of, build
from workers.dispatch.subscription_tests import SubscriptionTester


def test_a_test_of_a_subscription_sends_a_message_that_says_so(
    state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with chat_server() as chat:
        (tmp_path / "url").write_text(f"json://bridge:s3cret@127.0.0.1:{chat.port}/s3cret")
        ops = f"ops: {{transport: notify, allow_private: true, urls: [{{file: {tmp_path}/url}}]}}"
        made = build(state, tmp_path, access=access_of(TOKENS) + f"subscriptions: {{{ops}}}\n")
        monkeypatch.setattr("bridge.cli.common.load", lambda **_: made)
        state.set(keys.heartbeat("dispatch"), "1")
        tester = SubscriptionTester(made, made.now)

        def run(code: int) -> str:
            running = threading.Thread(target=lambda: any(tester.step(2.0) for _ in range(20)))
            running.start()
            assert cli.run(["subscriptions", "test", "ops"]) == code
            running.join(10)
            return capfd.readouterr().out

        out = run(0)
        (body,) = chat.bodies
        assert (body["title"], "Do not act on it" in body["message"]) == ("Test of subscription ops", True)
        assert "Test of subscription ops" in out
        chat.answer(401)
        failed = run(1)
        assert cli.run(["subscriptions", "show", "ops"]) == 0
        shown = capfd.readouterr().out
    assert "JSON: answered 401. Remedy: check subscriptions.ops.urls[0]" in failed
    assert "json://****" in shown
    assert "s3cret" not in out + failed + shown


def test_a_wrong_template_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(
        "bridge: {name: acme, public_url: 'https://b.example.org'}\n"
        "subscriptions:\n  ops:\n    transport: notify\n    urls: ['${OPS_URL}']\n"
        "    templates: {source.*: {title: '{{ data.alarm.fct }}'}}\n"
    )
    monkeypatch.setenv("OPS_URL", "slack://T1/B1/C1")
    for command in (["config", "check"], ["dispatch"]):
        assert cli.run(["--config", str(file), *command]) == 78
        error = capfd.readouterr().err
        assert f"{file}:6: subscriptions.ops.templates.source.*.title: cannot be rendered" in error
