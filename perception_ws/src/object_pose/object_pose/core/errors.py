"""The one error family of the package: what is wrong, where, and what to do about it."""

from __future__ import annotations


class ObjectPoseError(Exception):
    """Root of every error that a user can cause or cure; the command line turns it into exit code 2.

    ``message`` says what is wrong and where, ``hint`` what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(ObjectPoseError):
    """A parameter, option or configuration file is unknown, mistyped or out of range."""


class ModelError(ObjectPoseError):
    """A model file is missing, truncated, of an unknown layout, or does not fit its card."""


class DataError(ObjectPoseError):
    """An image, label, data set or recording cannot be used as it is."""


class CalibrationError(ObjectPoseError):
    """Intrinsics or extrinsics are missing or impossible."""


class CancelledError(ObjectPoseError):
    """The caller ended a long task early; what was done is kept where the task can go on from it."""
