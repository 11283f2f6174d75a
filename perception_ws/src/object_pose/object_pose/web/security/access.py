"""ASGI middleware that lets a request in: host, origin, token or session, scope, rate; before its body is read."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from re import Pattern

from fastapi.routing import APIRoute
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from object_pose.web.config import WebConfig
from object_pose.web.errors import HttpError
from object_pose.web.security.limits import RateLimiter
from object_pose.web.security.scopes import SESSION_COOKIE, Caller, Scope
from object_pose.web.security.tokens import Token, TokenStore

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HERE = Caller("", "this machine", Scope.OPERATE)
_NOBODY = Caller("", "anybody", Scope.READ)
_PORTS = {"http": "80", "https": "443"}


class AccessTable:
    """Which scope a path and method need. What no route declares needs ``READ``: nothing is open by mistake."""

    def __init__(
        self,
        routes: Iterable[tuple[APIRoute, Scope | None]],
        public_prefixes: tuple[str, ...],
        public_paths: frozenset[str],
    ) -> None:
        self._public_prefixes, self._public_paths = public_prefixes, public_paths
        self._routes: list[tuple[Pattern[str], frozenset[str], Scope | None]] = [
            (compile_path(route.path)[0], frozenset(route.methods or ()), scope) for route, scope in routes
        ]

    def needed(self, path: str, method: str) -> Scope | None:
        """Return the scope, None where anybody may come."""
        if path in self._public_paths or path.startswith(self._public_prefixes):
            return None
        matching = [(methods, scope) for pattern, methods, scope in self._routes if pattern.match(path)]
        exact = [scope for methods, scope in matching if method in methods]
        if exact:
            return exact[0]
        return None if matching and all(scope is None for _, scope in matching) else Scope.READ


class Access:
    """Finds out who calls, and refuses callers without the scope; puts the ``Caller`` into the request's state."""

    def __init__(self, app: ASGIApp, config: WebConfig, tokens: TokenStore, table: AccessTable) -> None:
        self._app, self._config, self._tokens, self._table = app, config, tokens, table
        self._limiter = RateLimiter(config.requests_per_second, config.burst)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise ``HttpError``."""
        if scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            scope.setdefault("state", {})["caller"] = self._admitted(scope)
        await self._app(scope, receive, send)

    def _admitted(self, scope: Connection) -> Caller:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        self._check_rate(f"address {client[0] if client else ''}")
        asks_token = asks_for_token(self._config, self._tokens)
        if not asks_token:
            _check_is_local(headers.get("host", ""))
        bearer = _bearer(headers)
        if bearer is None:
            _check_origin(headers, scope)
        needed = self._table.needed(scope["path"], scope["method"])
        if not asks_token:
            return _HERE
        token = self._tokens.find(bearer) if bearer is not None else self._session(headers, scope)
        if needed is None:
            return _caller(token) if token else _NOBODY
        if token is None:
            problem = "the token is unknown or was revoked" if bearer is not None else "a token is needed"
            hint = "make one with 'object-pose tokens create' and send 'Authorization: Bearer TOKEN'"
            raise HttpError(401, f"{problem}: {hint}", headers={"WWW-Authenticate": "Bearer"})
        self._check_rate(f"token {token.id}")
        if not token.scope.includes(needed):
            raise HttpError(403, f"the token's scope is '{token.scope.value}' and '{needed.value}' is needed")
        return _caller(token)

    def _check_rate(self, name: str) -> None:
        wait_s = self._limiter.wait_s(name)
        if wait_s > 0.0:
            after = {"Retry-After": str(math.ceil(wait_s))}
            raise HttpError(429, f"too many requests: come again in {math.ceil(wait_s)} s", headers=after)

    def _session(self, headers: Mapping[str, str], scope: Connection) -> Token | None:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return None
        if SESSION_COOKIE not in cookies:
            return None
        token = self._tokens.find_session(cookies[SESSION_COOKIE].value)
        if token and scope["method"] not in _SAFE_METHODS and "origin" not in headers:
            raise HttpError(403, "a request with a session's cookie needs the header Origin")
        return token


def asks_for_token(config: WebConfig, tokens: TokenStore) -> bool:
    """Return whether callers need a token: always off loopback, on it as soon as there is one."""
    return not config.is_loopback or bool(tokens.list())


def _caller(token: Token) -> Caller:
    return Caller(token.id, token.name, token.scope)


def _bearer(headers: Mapping[str, str]) -> str | None:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _check_origin(headers: Mapping[str, str], scope: Connection) -> None:
    """Refuse what a page of another origin makes a browser send; programs send no Origin."""
    origin = headers.get("origin")
    if origin is None or scope["method"] in _SAFE_METHODS:
        return
    scheme = scope.get("scheme", "http")
    own = _with_port(headers.get("host", ""), scheme)
    theirs_scheme, _, theirs = origin.partition("://")
    if theirs_scheme != scheme or _with_port(theirs, scheme) != own:
        raise HttpError(403, "the request comes from a page of another origin")


def _with_port(host: str, scheme: str) -> str:
    has_port = host.rpartition(":")[2].isdigit() and not host.endswith("]")
    return host.lower() if has_port else f"{host.lower()}:{_PORTS.get(scheme, '')}"


def _check_is_local(host: str) -> None:
    """Refuse other names than this machine's own: pages can make theirs point here (DNS rebinding)."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    try:
        if name == "localhost" or ipaddress.ip_address(name).is_loopback:
            return
    except ValueError:
        pass
    raise HttpError(403, f"the host '{name[:64]}' is not this machine: without tokens only localhost is answered")
