"""Rules for who may use a web server: this machine without a token, all others with it."""

from __future__ import annotations

import secrets
from typing import Any

from fer_edge.errors import ConfigError
from fer_edge.live.web_server import LOOPBACK_NAMES, LoopbackNames, host_name

MIN_TOKEN = 8  # characters
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Access:
    """Check of requests: by a token, or without one by the names of this machine in Host and Origin.

    Without a token, requests with another host name, or from a page of another site, are refused, so that no page in
    the browser reads the results.

    Args:
        host: Name or address that the server listens on.
        token: Secret that clients send, at least 8 characters; empty: none on the loopback address, and a new one on
            others.

    Attributes:
        token: The secret; empty if there is none.
        is_new_token: Whether the token was made here, so that the user has to see it.

    Raises:
        ConfigError: Token that is too short.
    """

    def __init__(self, host: str, token: str = "") -> None:
        if token and len(token) < MIN_TOKEN:
            raise ConfigError(f"token has {len(token)} characters; expected at least {MIN_TOKEN}")
        is_local = host in {name.strip("[]") for name in LOOPBACK_NAMES}
        self.token = token or ("" if is_local else secrets.token_urlsafe(16))
        self.is_new_token = not token and not is_local

    def guard(self, application: Any) -> Any:
        """Return an ASGI application behind the check of host names, which a token replaces."""
        return application if self.token else LoopbackNames(application, HEADERS)

    def is_allowed(self, request: Any) -> bool:
        """Return whether a request or WebSocket has the token, or is not from a page of another site."""
        if self.token:
            scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
            token = bearer if scheme.lower() == "bearer" else request.query_params.get("token", "")
            return secrets.compare_digest(token.encode(), self.token.encode())
        origin = request.headers.get("origin")  # only browsers send it
        return origin is None or host_name(origin.partition("://")[2]) in LOOPBACK_NAMES

    @property
    def refusal(self) -> str:
        """Reason of a refusal, as a sentence without its end."""
        return "the token is missing or wrong" if self.token else "pages of other sites need a token"

    def headers(self, request: Any) -> dict[str, str]:
        """Return the headers of the answer to a request that is allowed."""
        origin = request.headers.get("origin")
        return HEADERS if origin is None else {**HEADERS, "Access-Control-Allow-Origin": origin, "Vary": "Origin"}
