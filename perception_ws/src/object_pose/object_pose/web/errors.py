"""Errors as HTTP answers: one JSON form for all, ``{"error": {"code", "message"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from object_pose.core.errors import CalibrationError, ConfigError, DataError, ModelError, ObjectPoseError

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
_CODES_OF_ERRORS: dict[type[ObjectPoseError], str] = {
    ConfigError: "bad_config",
    ModelError: "bad_model",
    DataError: "bad_data",
    CalibrationError: "bad_calibration",
}


class ErrorDetail(BaseModel):
    """What went wrong: ``code`` for programs, ``message`` for people (what, where, what to do)."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every answer of 400 and above."""

    error: ErrorDetail


class HttpError(HTTPException):
    """An answer of 400 or above; ``code`` is the usual one of the status unless given."""

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)
        self.code = code or _CODES.get(status, "error")

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse({"error": {"code": self.code, "message": self.detail}}, self.status_code, self.headers)


def as_http_error(error: Exception) -> HttpError:
    """Return what an exception is as an answer; unexpected ones are 500 and tell nothing internal."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, ObjectPoseError):
        code = next((code for kind, code in _CODES_OF_ERRORS.items() if isinstance(error, kind)), "")
        return HttpError(400, str(error), code)
    if isinstance(error, RequestValidationError):
        return HttpError(422, "; ".join(_field_problem(item) for item in error.errors()))
    if isinstance(error, HTTPException):
        return HttpError(error.status_code, str(error.detail), headers=error.headers)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("object_pose"):
        return HttpError(503, f"the server lacks the Python package '{error.name}' for this", "not_installed")
    return HttpError(500, "the server failed; its log says how")


def install(app: FastAPI) -> None:
    """Make the app answer with this module's form."""

    async def answer(_request: Request, error: Exception) -> JSONResponse:
        return as_http_error(error).response()

    for kind in (HttpError, ObjectPoseError, RequestValidationError, HTTPException, ModuleNotFoundError):
        app.add_exception_handler(kind, answer)


def _field_problem(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item.get("loc", ()))
    return f"{place}: {item.get('msg', 'is wrong')}"
