"""TLS towards servers that an address names: state and brokers. Certificate and host name are always verified."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qsl

from bridge.errors import clip
from bridge.net.server_group import is_group

__all__ = ["address_problem", "describe", "tls_problem"]

_SCHEMES = ("rediss", "amqps", "rediss+sentinel", "rediss+cluster")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: Parameters that may be given only with these values, which are the defaults.
_DEFAULTS = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
#: OpenSSL's verification errors (X509_V_ERR_...) -> remedy.
_CLOCK = "check the clocks of both machines"
_NAME_CA = "name the CA that signed it: ?ssl_ca_certs=/path/to/ca.pem at the end of the address"
_HOST = "write the host name that the certificate is for, or get one for this host"
_REMEDIES = {9: _CLOCK, 10: "renew the server's certificate", 62: _HOST, 64: _HOST} | dict.fromkeys(
    (2, 18, 19, 20, 21), _NAME_CA
)


def address_problem(url: str) -> str | None:
    """What is wrong with the `ssl` parameters of a state's or broker's address, or None. Files must be there."""
    scheme, query = _scheme_and_query(url)
    given = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if _is_tls(name)]
    if ";" in url and not is_group(url) and (given or any(f"{scheme}://" in url for scheme in _SCHEMES)):
        return "names several servers, which is not supported over TLS. Remedy: give one"
    for name, value in given:
        if scheme not in _SCHEMES:
            *others, last = (f"{each}://" for each in _SCHEMES)
            return f"{clip(name, 40)} belongs to {', '.join(others)} and {last} only"
        if name in _DEFAULTS:
            if value.lower() != _DEFAULTS[name]:
                return (
                    f"{name} would turn off the verification of the server's certificate, over which the password "
                    "goes. Remedy: remove it; ?ssl_ca_certs=/path/to/ca.pem trusts a CA of your own"
                )
        elif name not in _FILES:
            return f"{clip(name, 40)} is not supported; {', '.join(_FILES)} are"
        elif not Path(value).is_absolute() or not Path(value).is_file():
            return f"{name} is not a readable file. Remedy: give its absolute path, such as /etc/ssl/bridge/ca.pem"
    return None


def _scheme_and_query(url: str) -> tuple[str, str]:
    """Scheme and query, found without `urlsplit`, which raises for some addresses of several servers."""
    return url.partition("://")[0].lower(), url.partition("?")[2].partition("#")[0]


def _is_tls(name: str) -> bool:
    return name.lower() == "ssl" or name.lower().startswith("ssl_")


def describe(url: str) -> str:
    """How the connection to a state or broker is protected, in a few words."""
    scheme, query = _scheme_and_query(url)
    if scheme in _SCHEMES:
        own = dict(parse_qsl(query)).get("ssl_ca_certs")
        return f"TLS, certificate and host name verified, trusted: {own or 'the CAs of this system'}"
    if scheme in ("unix", "redis+socket"):
        return "not encrypted, a socket of this machine"
    return "not encrypted"


def tls_problem(error: BaseException | None) -> str | None:
    """What went wrong in TLS, with the remedy, or None if `error` and its causes are about something else."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            remedy = _REMEDIES.get(error.verify_code, "check the server's certificate")
            what = clip(error.verify_message).rstrip(".")
            return f"the server's TLS certificate is refused: {what}. Remedy: {remedy}"
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return f"TLS: {clip(getattr(error, 'reason', None) or error)}. Remedy: check that this port speaks TLS"
        error = error.__cause__ or error.__context__
    return None
