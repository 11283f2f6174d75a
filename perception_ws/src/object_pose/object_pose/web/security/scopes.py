"""Scopes of tokens, and how a route says which it needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPBearer

SESSION_COOKIE = "object_pose_session"
_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="A token of `object-pose tokens create`")
_COOKIE = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, scheme_name="session")


class Scope(str, Enum):
    """What a token allows; each includes those before it."""

    READ = "read"
    PREDICT = "predict"
    OPERATE = "operate"

    def includes(self, other: Scope) -> bool:
        """Whether this scope allows what ``other`` allows."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Caller:
    """Who sends a request: a token's id and name, or this machine where no token is asked for."""

    id: str
    name: str
    scope: Scope


def caller(request: Request) -> Caller:
    """Return who sends a request that has passed the access check."""
    found: Caller = request.scope["state"]["caller"]
    return found


class _Declared:
    """A dependency that documents a route's scope; ``security.access`` enforces it before the body is read."""

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(
        self, _token: Annotated[Any, Security(_BEARER)], _session: Annotated[Any, Security(_COOKIE)]
    ) -> None:
        """Do nothing: the request has been checked already."""


class _Public:
    async def __call__(self) -> None:
        """Do nothing."""


_SCOPES = {scope: Depends(_Declared(scope)) for scope in Scope}
_PUBLIC = Depends(_Public())


def requires(scope: Scope) -> Any:
    """Return the dependency that a route with this scope has: ``dependencies=[requires(Scope.READ)]``."""
    return _SCOPES[scope]


def public() -> Any:
    """Return the dependency of a route that anybody may call."""
    return _PUBLIC


def declared_scopes(router: APIRouter) -> list[tuple[APIRoute, Scope | None]]:
    """Return the routes of a router, each with the scope that it needs, None where it is public.

    Raises ``ValueError`` for a route that declares neither ``requires`` nor ``public``.
    """
    found: list[tuple[APIRoute, Scope | None]] = []
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise ValueError(f"{route!r} is no route of the API")
        calls = [item.dependency for item in (*router.dependencies, *route.dependencies)]
        scopes = [call.scope for call in calls if isinstance(call, _Declared)]
        if not scopes and not any(isinstance(call, _Public) for call in calls):
            raise ValueError(f"route {route.path} declares no scope: give it requires(...) or public()")
        found.append((route, scopes[-1] if scopes else None))
    return found
