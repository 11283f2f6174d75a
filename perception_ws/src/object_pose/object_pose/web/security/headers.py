"""Headers of every answer: a strict content security policy, and nothing for other origins."""

from __future__ import annotations

from collections.abc import Mapping

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# Reports are pages of their own with styles inside; they run no script and reach nothing.
REPORT_POLICY = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; frame-ancestors 'self'"

_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}


def security_headers(has_tls: bool) -> Mapping[bytes, bytes]:
    """Return the headers that an answer has unless it sets them itself."""
    headers = dict(_HEADERS)
    if has_tls:
        headers["strict-transport-security"] = "max-age=31536000"
    return {name.encode(): value.encode() for name, value in headers.items()}
