"""Every client of ours over TLS: the right certificate works; any other is refused before a byte of ours is sent."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from bridge import registry
from bridge import services as composition
from bridge.cli.trigger import trigger
from bridge.config import loader
from bridge.errors import BridgeError, ConfigError, StateUnavailable
from bridge.monitoring import doctor
from bridge.net.push_connection import receiver_context
from bridge.polling.vendor_http import vendor_session
from bridge.runtime import healthcheck
from bridge.services import Services
from bridge.settings import Settings
from bridge.state.client import state_client
from bridge.state.errors import state_errors
from tests.support.child_processes import ROOT, Child, until
from tests.support.pushing import BlockingClient as Client
from tests.support.servers import Server
from tests.support.tls import Authority, TLSFront
from tests.support.web import Web, post, result
from workers.app import make_celery
from workers.transports.broker import Broker, Message
from workers.transports.contract import Outgoing

pytestmark = pytest.mark.usefixtures("starts_processes")

PASSWORD = "CANARY-of-the-password"
EVENT = Outgoing("event", "attempt.completed", "eu", "1", b"{}")
MESSAGE = Message(b"[[],{},{}]", "gradebook", "id-1", {})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> dict[str, ssl.SSLContext]:
    """By what is wrong with them."""
    return {
        "nothing": authority.issue("right", "DNS:localhost,IP:127.0.0.1"),
        "name": authority.issue("elsewhere", "DNS:elsewhere.example"),
        "expired": authority.issue("late", "DNS:localhost,IP:127.0.0.1", expired=True),
        "self-signed": authority.self_signed("DNS:localhost,IP:127.0.0.1"),
    }


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu tries again until its time is over, however hopeless it is."""
    monkeypatch.setattr("workers.transports.broker.CONNECT_SECONDS", 1)
    monkeypatch.setattr("workers.transports.amqp_link.CONNECT_SECONDS", 1)
    monkeypatch.setattr("bridge.monitoring.broker_checks._CONNECT_SECONDS", 1)


@pytest.fixture
def front(certificates: dict[str, ssl.SSLContext]) -> Iterator[Callable[..., TLSFront]]:
    made: list[TLSFront] = []

    def make(fault: str = "nothing", backend: int | None = None) -> TLSFront:
        made.append(TLSFront(certificates[fault], backend))
        return made[-1]

    yield make
    for item in made:
        item.close()


# Each takes scheme-less "user:password@localhost:port", the query "?..." and a folder, and tries to send something. It
# returns what a person is told, "" if all went well.


def _state(where: str, query: str, folder: Path) -> str:
    try:
        with state_client(f"rediss://{where}/0{query}", retries=0) as client, state_errors():
            client.ping()
    except StateUnavailable as error:
        return str(error)
    return ""


def _broker(scheme: str) -> Callable[[str, str, Path], str]:
    def send(where: str, query: str, folder: Path) -> str:
        broker = Broker(f"{scheme}://{where}/{'1' if scheme == 'rediss' else '/'}{query}")
        try:
            (tried,) = broker.publish([EVENT], lambda event: MESSAGE, now=1.0, content_type="application/json")
        finally:
            broker.close()
        return str(tried.failure or "")

    return send


def _celery(scheme: str) -> Callable[[str, str, Path], str]:
    """The worker's and beat's own connection."""

    def send(where: str, query: str, folder: Path) -> str:
        over = _over(folder, broker=f"{scheme}://{where}/{'1' if scheme == 'rediss' else '/'}{query}")
        try:
            with make_celery(over).connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
                # Redis connects with its first channel.
                connection.default_channel.close()
        except Exception as error:  # noqa: BLE001 - whatever kombu raises: the text is what the log shows
            return str(error)
        return ""

    return send


def _doctor(member: str, scheme: str) -> Callable[[str, str, Path], str]:
    def examine(where: str, query: str, folder: Path) -> str:
        path = "/" if scheme == "amqps" else "1"
        over = _over(folder, **{member: f"{scheme}://{where}/{path}{query}"})
        name = "state server" if member == "state" else "broker of the bridge"
        results = [check for check in doctor.examine(over) if check.name == name and check.status != doctor.OK]
        return f"{results[0].text}. Remedy: {results[0].remedy}" if results else ""

    return examine


def _push(where: str, query: str, folder: Path) -> str:
    host = where.rpartition("@")[2]
    try:
        client = Client(f"https://{host}/hooks", allow_private=True, deadline=5)
        client.post(b"{}", {"authorization": PASSWORD})
    except BridgeError as error:
        return str(error)
    return ""


def _vendor(where: str, query: str, folder: Path) -> str:
    with vendor_session() as session:
        try:
            session.get(f"https://{where.rpartition('@')[2]}/", headers={"authorization": PASSWORD}, timeout=5)
        except requests.RequestException as error:
            return str(error)
    return ""


def _trigger(where: str, query: str, folder: Path) -> str:
    secret = "{api_key: k, api_secret: s, webhook_secret: [w]}"
    (folder / "bridge.yaml").write_text(
        f"demo: true\nbridge: {{name: acme}}\nsources: {{eu: {{vendor: classmarker, credentials: {secret}}}}}\n"
    )
    loaded = composition.load(Settings(config=folder / "bridge.yaml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.cli.common.load", lambda **_: loaded)
        address = f"https://{where.rpartition('@')[2]}"
        answer = CliRunner().invoke(trigger, ["classmarker", "--url", address, "--token", PASSWORD])
    return "" if answer.exit_code == 0 else answer.output


def _over(folder: Path, *, state: str = "redis://127.0.0.1:1/0", broker: str = "redis://127.0.0.1:1/1") -> Services:
    (folder / "bridge.yaml").write_text("demo: true\nbridge: {name: acme}\n")
    settings = Settings(config=folder / "bridge.yaml", state=state, broker=broker)
    return composition.load(settings)


def _alive(where: str, query: str, folder: Path) -> str:
    """The health check of a container."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as said:
        patch.setenv("ATTEMPT_BRIDGE_STATE", f"rediss://{where}/0{query}")
        healthcheck.main("beat")
    return said.getvalue().strip().removesuffix("beat: no heartbeat")


#: Every client of ours that speaks TLS.
CLIENTS = {
    "state": _state,
    "health check": _alive,
    "subscription over rediss": _broker("rediss"),
    "subscription over amqps": _broker("amqps"),
    "worker and beat over rediss": _celery("rediss"),
    "worker and beat over amqps": _celery("amqps"),
    "doctor, state": _doctor("state", "rediss"),
    "doctor, broker over rediss": _doctor("broker", "rediss"),
    "doctor, broker over amqps": _doctor("broker", "amqps"),
    "push": _push,
    "vendor": _vendor,
    "trigger": _trigger,
}
#: Those that are told their CA in the address; the others trust the system's.
ADDRESSED = [name for name in CLIENTS if name not in ("push", "vendor", "trigger")]
FAULTS = {
    "name": ("Hostname mismatch", "write the host name that the certificate is for"),
    "expired": ("certificate has expired", "renew the server's certificate"),
    "self-signed": ("self-signed certificate", "?ssl_ca_certs="),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CLIENTS)
def test_no_client_says_a_word_to_a_server_whose_certificate_is_wrong(
    name: str, fault: str, front: Callable[..., TLSFront], authority: Authority, tmp_path: Path
) -> None:
    server = front(fault)
    query = f"?ssl_ca_certs={authority.ca}" if name in ADDRESSED else ""
    said = CLIENTS[name](f"bridge:{PASSWORD}@localhost:{server.port}", query, tmp_path)
    assert said
    assert PASSWORD not in said
    until(lambda: server.refused)
    assert bytes(server.told) == b""
    if name in ADDRESSED:
        what, remedy = FAULTS[fault]
        assert what in said
        if "worker" not in name:  # there Celery speaks
            assert remedy in said
            assert "\n" not in said
            assert "memory" not in said


@pytest.mark.parametrize("name", CLIENTS)
def test_no_client_trusts_a_ca_that_the_system_does_not_know(
    name: str, front: Callable[..., TLSFront], tmp_path: Path
) -> None:
    server = front()
    said = CLIENTS[name](f"bridge:{PASSWORD}@localhost:{server.port}", "", tmp_path)
    assert said
    until(lambda: server.refused)
    assert bytes(server.told) == b""


@pytest.mark.parametrize("name", [name for name in ADDRESSED if "amqps" not in name])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_right_certificate_of_a_ca_in_the_address_works(
    name: str, host: str, front: Callable[..., TLSFront], authority: Authority, own_server: Server, tmp_path: Path
) -> None:
    client = own_server.client()
    client.config_set("requirepass", PASSWORD)
    client.close()
    server = front("nothing", own_server.port)
    said = CLIENTS[name](f":{PASSWORD}@{host}:{server.port}", f"?ssl_ca_certs={authority.ca}", tmp_path)
    assert said == ""
    assert PASSWORD.encode() in server.told


def test_the_push_goes_through_with_a_ca_that_is_trusted(front: Callable[..., TLSFront], authority: Authority) -> None:
    server = front()
    client = Client(
        f"https://localhost:{server.port}/", allow_private=True, context=receiver_context(authority.ca), deadline=1
    )
    with pytest.raises(BridgeError, match="no complete answer"):
        client.post(b"{}", {})
    assert server.told.startswith(b"POST / ")


def test_web_keeps_its_state_over_tls_and_names_a_certificate_that_it_refuses(
    front: Callable[..., TLSFront], authority: Authority, own_server: Server, tmp_path: Path
) -> None:
    server = front("nothing", own_server.port)
    web = Web(tmp_path / "right", f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.ca}")
    try:
        until(lambda: web.get("/readyz").status == 200)
        assert web.exchange(post("/webhooks/eu", result(1))).outcome == "published"
    finally:
        web.close()
    server = front("name", own_server.port)
    web = Web(tmp_path / "wrong", f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.ca}")
    try:
        assert web.exchange(post("/webhooks/eu", result(2))).status == 503
        until(lambda: "certificate is refused: Hostname mismatch" in web.log.read_text())
    finally:
        web.close()
    assert bytes(server.told) == b""


@pytest.mark.parametrize("part", ["worker", "beat", "dispatch"])
def test_a_part_names_the_certificate_of_the_state_server_that_it_refuses(
    part: str, front: Callable[..., TLSFront], authority: Authority, tmp_path: Path
) -> None:
    server = front("expired")
    state = f"rediss://:{PASSWORD}@localhost:{server.port}/0?ssl_ca_certs={authority.ca}"
    (tmp_path / "bridge.yaml").write_text("demo: true\nbridge: {name: acme}\n")
    settings = {"ATTEMPT_BRIDGE_STATE": state, "ATTEMPT_BRIDGE_BROKER": state.replace("/0?", "/1?")}
    child = Child.forked("-m", "bridge", "--config", str(tmp_path / "bridge.yaml"), part, **settings)
    try:
        line = child.wait_for_error("waiting for the state server")
    finally:
        child.end()
    assert "certificate has expired. Remedy: renew the server's certificate" in line
    assert bytes(server.told) == b""
    assert PASSWORD not in "".join(child.errors)


@pytest.mark.parametrize("part", ["worker", "beat"])
def test_worker_and_beat_say_that_the_brokers_certificate_is_refused(
    part: str, front: Callable[..., TLSFront], authority: Authority, server: Server, tmp_path: Path
) -> None:
    broker = front("self-signed")
    address = f"rediss://:{PASSWORD}@localhost:{broker.port}/1?ssl_ca_certs={authority.ca}"
    (tmp_path / "bridge.yaml").write_text("demo: true\nbridge: {name: acme}\n")
    settings = {"ATTEMPT_BRIDGE_STATE": server.url, "ATTEMPT_BRIDGE_BROKER": address}
    child = Child.forked("-m", "bridge", "--config", str(tmp_path / "bridge.yaml"), part, **settings)
    try:
        line = child.wait_for_error("self-signed certificate")
    finally:
        child.end()
    assert "the server's TLS certificate is refused: self-signed certificate. Remedy: name the CA" in line
    assert PASSWORD not in "".join(child.errors)
    assert bytes(broker.told) == b""


def test_doctor_says_how_each_connection_is_protected(authority: Authority, tmp_path: Path) -> None:
    over = _over(tmp_path, broker=f"rediss://127.0.0.1:1/1?ssl_ca_certs={authority.ca}")
    told = {check.name: check.text for check in doctor.examine(over)}
    assert told["connection to the state server"] == "not encrypted"
    assert told["connection to the broker of the bridge"] == (
        f"TLS, certificate and host name verified, trusted: {authority.ca}"
    )


@pytest.mark.parametrize("member", ["state", "broker"])
def test_an_address_that_would_turn_verification_off_is_refused(member: str, tmp_path: Path) -> None:
    """Whoever gives it, file or environment, in a demo too."""
    address = "rediss://localhost:6379/0?ssl_cert_reqs=none"
    with pytest.raises(ConfigError, match=r"ssl_cert_reqs would turn off .+ Remedy: remove it"):
        _over(tmp_path, **{member: address})
    with pytest.raises(ConfigError, match="ssl_cert_reqs would turn off"):
        state_client(address)
    path = tmp_path / "other.yaml"
    path.write_text(f"demo: true\nbridge: {{name: acme, {member}: '{address}'}}\n")
    with pytest.raises(ConfigError, match=rf"other.yaml:2: bridge.{member}: ssl_cert_reqs would turn off"):
        loader.read(path, vendors=registry.vendors(), environment={})
    path.write_text(
        "demo: true\nbridge: {name: acme}\n"
        f"subscriptions: {{s: {{transport: celery, task: t, queue: q, broker: '{address}'}}}}\n"
    )
    with pytest.raises(ConfigError, match=r"subscriptions\.s\.broker: ssl_cert_reqs would turn off"):
        loader.read(path, vendors=registry.vendors(), environment={})


# Each library meets either fault and either scheme, but not all of their pairs: each case starts a process.
@pytest.mark.parametrize(
    ("example", "scheme", "fault"),
    [
        ("kombu", "rediss", "name"),
        ("kombu", "amqps", "self-signed"),
        ("celery", "rediss", "self-signed"),
        ("celery", "amqps", "name"),
        ("stream", "rediss", "name"),
    ],
)
def test_a_subscriber_of_the_examples_says_nothing_to_a_wrong_server_either(
    example: str, scheme: str, fault: str, front: Callable[..., TLSFront], authority: Authority
) -> None:
    server = front(fault)
    query = f"?ssl_ca_certs={authority.ca}" if scheme == "rediss" else ""
    address = f"{scheme}://bridge:{PASSWORD}@localhost:{server.port}/{'1' if scheme == 'rediss' else '/'}{query}"
    arguments = {
        "kombu": ("kombu_subscriber.py", "--broker", address),
        "celery": ("-m", "celery", "-A", "celery_subscriber", "worker", "--pool", "solo"),
        "stream": ("stream_subscriber.py", "--state", address),
    }
    child = Child.forked(*arguments[example], cwd=ROOT / "examples", GRADEBOOK_BROKER=address)
    try:
        until(lambda: server.refused)
    finally:
        child.end()
    assert bytes(server.told) == b""
