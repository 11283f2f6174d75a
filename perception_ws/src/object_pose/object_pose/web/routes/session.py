"""Sessions of the page: a token once, a cookie that scripts cannot read from then on."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from object_pose.web.errors import HttpError
from object_pose.web.openapi import documented
from object_pose.web.security.access import asks_for_token
from object_pose.web.security.scopes import SESSION_COOKIE, Scope, caller, public
from object_pose.web.security.tokens import SESSION_SECONDS
from object_pose.web.services import ServicesDep

router = APIRouter(prefix="/v1/session", tags=["session"], dependencies=[public()])


class Login(BaseModel):
    """A token, as ``object-pose tokens create`` shows it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": "op_0123abcd_..."}]})
    token: str = Field(max_length=256)


class Session(BaseModel):
    """What the caller may do (None: nothing without a token), and whether the server asks for tokens at all."""

    scope: Scope | None
    authentication: bool


@router.get("", summary="Who I am")
def show(services: ServicesDep, request: Request) -> Session:
    authentication = asks_for_token(services.config, services.tokens)
    who = caller(request)
    return Session(scope=who.scope if who.id or not authentication else None, authentication=authentication)


@router.post("", summary="Log in", responses=documented(401))
def login(services: ServicesDep, login: Login, response: Response) -> Session:
    token = services.tokens.find(login.token)
    if token is None:
        raise HttpError(401, "the token is unknown or was revoked")
    response.set_cookie(
        SESSION_COOKIE,
        services.tokens.begin_session(token),
        max_age=SESSION_SECONDS,
        secure=services.config.has_tls,
        httponly=True,
        samesite="strict",
    )
    return Session(scope=token.scope, authentication=True)


@router.delete("", status_code=204, summary="Log out")
def logout(services: ServicesDep, response: Response) -> None:
    response.delete_cookie(SESSION_COOKIE, secure=services.config.has_tls, httponly=True, samesite="strict")
