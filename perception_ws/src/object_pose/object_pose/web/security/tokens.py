"""Tokens: made and revoked from the command line, kept as hashes in one file, and read anew when that changes.

A token is ``op_ID_SECRET``; its 256 random bits need no slow hash, so that SHA-256 of it is what is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.io.files import replacing
from object_pose.web.security.scopes import Scope

SESSION_SECONDS = 12 * 3600
_FILE, _KEY_FILE, _LOCK_FILE = "tokens.json", "session.key", "tokens.lock"
_NAME = re.compile(r"[\w .:@/-]{1,64}")
_TOKEN = re.compile(r"op_([0-9a-f]{8})_[\w-]{43}", re.ASCII)


@dataclass(frozen=True)
class Token:
    """What is kept of a token; ``created_at`` is in seconds since 1970."""

    id: str
    name: str
    scope: Scope
    sha256: str
    created_at: float


class TokenStore:
    """The tokens of a state folder; thread-safe, and safe beside other processes that use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / _FILE
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def list(self) -> list[Token]:
        """Return the tokens that are valid, oldest first; raises ``ConfigError`` where the file is damaged."""
        with self._lock:
            version = self._file_version()
            if version != self._version:
                self._tokens = self._read() if version else {}
                self._version = version
            return list(self._tokens.values())

    def create(self, name: str, scope: Scope) -> str:
        """Return a new token, which is not kept itself and cannot be shown again."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"'{name}' cannot name a token", "use 1 to 64 letters, digits, spaces and . : @ / -")
        with self._changing() as tokens:
            if any(token.name == name for token in tokens.values()):
                raise ConfigError(f"there is a token '{name}' already", "choose another name, or revoke it first")
            identity = secrets.token_hex(4)
            text = f"op_{identity}_{secrets.token_urlsafe(32)}"
            tokens[identity] = Token(identity, name, scope, _hash(text), time.time())
        return text

    def revoke(self, name: str) -> Token:
        """Remove the token of a name or id; raises ``ConfigError`` where there is none."""
        with self._changing() as tokens:
            found = [token for token in tokens.values() if name in (token.name, token.id)]
            if not found:
                known = ", ".join(token.name for token in tokens.values())
                raise ConfigError(f"there is no token '{name}'", f"known: {known or 'none'}")
            del tokens[found[0].id]
        return found[0]

    def find(self, text: str) -> Token | None:
        """Return the token that a caller presents, None where it is unknown."""
        matched = _TOKEN.fullmatch(text)
        token = self._by_id(matched.group(1)) if matched else None
        return token if token and hmac.compare_digest(token.sha256, _hash(text)) else None

    def begin_session(self, token: Token) -> str:
        """Return a cookie that stands for a token for ``SESSION_SECONDS``, or until it is revoked."""
        content = f"{token.id}.{int(time.time()) + SESSION_SECONDS}.{secrets.token_hex(8)}"
        return f"{content}.{self._signature(content)}"

    def find_session(self, cookie: str) -> Token | None:
        """Return the token of a session, None where it is over, forged or the token was revoked."""
        content, _, signature = cookie.rpartition(".")
        if not content.isascii() or not hmac.compare_digest(signature.encode(), self._signature(content).encode()):
            return None
        identity, end, _ = content.split(".")
        return self._by_id(identity) if time.time() < int(end) else None

    def _by_id(self, identity: str) -> Token | None:
        return next((token for token in self.list() if token.id == identity), None)

    def _signature(self, content: str) -> str:
        return hmac.new(self._session_key(), content.encode(), hashlib.sha256).hexdigest()

    def _session_key(self) -> bytes:
        """Return the key that signs sessions, made once, so that they outlive a restart."""
        file = self._folder / _KEY_FILE
        with self._lock:
            if not file.exists():
                with self._replacing(file) as temporary:
                    temporary.write_bytes(secrets.token_bytes(32))
            return file.read_bytes()

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """Give the tokens by id and keep what became of them, one process at a time."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / _LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = {token.id: token for token in self.list()}
            yield tokens
            with self._replacing(self._file) as temporary:
                temporary.write_text(json.dumps([asdict(token) for token in tokens.values()], indent=2) + "\n")

    @contextmanager
    def _replacing(self, file: Path) -> Iterator[Path]:
        """Write a file that only its owner may read."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(file) as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
            yield temporary

    def _read(self) -> dict[str, Token]:
        try:
            items = json.loads(self._file.read_text())
            tokens = [Token(**(item | {"scope": Scope(item["scope"])})) for item in items]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self._file} is damaged: {error}", "remove it and create the tokens again") from error
        return {token.id: token for token in tokens}

    def _file_version(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
