"""What OpenAPI says of the answers that routes share: errors, and content that is no JSON."""

from __future__ import annotations

from typing import Any

from object_pose.web.errors import ErrorBody

Responses = dict[int | str, dict[str, Any]]
_MEANINGS = {
    400: "The input cannot be used as it is.",
    401: "A token is needed: it is missing, unknown or revoked.",
    403: "The token's scope is too small, or the request comes from another origin.",
    404: "There is no such thing.",
    405: "The route does not have this method.",
    409: "The present state does not allow it.",
    413: "The body is larger than is read.",
    415: "The body is of another type than is read.",
    422: "A parameter or field is missing or of the wrong type.",
    429: "Too many requests, or the queue is full: Retry-After says when to come again.",
    503: "It is not ready, or the deadline of the request has passed.",
}


def documented(*statuses: int) -> Responses:
    """Return the description of error answers, for ``responses=`` of a route."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


def content(media_type: str) -> Responses:
    """Return the description of an answer of text or bytes, for ``responses=`` of a route."""
    schema = {"type": "string"} if media_type.startswith("text/") else {"type": "string", "format": "binary"}
    return {200: {"content": {media_type: {"schema": schema}}}}
