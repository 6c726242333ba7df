"""The line of `up` and `demo` about the dashboard: its address, or a link that signs in once."""

from __future__ import annotations

from bridge.config import access
from bridge.errors import BridgeError, clip
from bridge.services import Services
from bridge.state.sign_in_code import SECONDS, SignInCode

__all__ = ["dashboard_line"]


def dashboard_line(services: Services, web_url: str) -> str:
    """One line for the operator. `web_url`: the address of web on this machine.

    While the file names no token, this makes a new code; the one of an earlier line stops working.
    """
    plain = f"dashboard: {web_url}/ui/"
    if services.settings.open_access:
        return f"{plain} (open without signing in, on this machine only)"
    try:
        token = next(iter(access.tokens(services.config)), None)
        if services.config.access.tokens or token is None:
            return plain
        code = SignInCode(services.state).make(token.sha256)
    except BridgeError as error:
        # The bridge runs: a missing link must not end it.
        return f"{plain} (no sign-in link: {clip(error)})"
    return f"dashboard: {web_url}/ui/sign-in?code={code} (signs in once, within {SECONDS // 3600} h)"
