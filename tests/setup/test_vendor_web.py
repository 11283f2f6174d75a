"""The page's libraries are what their pins say, or nothing is changed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = b"import { Scene } from 'lib';\nimport { a } from '../utils/a.js';\nexport const text = \"from 'lib'\";\n"


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as members:
        info = tarfile.TarInfo("package/addon.js")
        info.size = len(content)
        members.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that pins one package, and an npm that brings it."""
    for folder in ("scripts", "requirements", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts" / "vendor_web", tmp_path / "scripts")
    packed = archive(SOURCE)
    (tmp_path / "lib-1.0.0.tgz").write_bytes(packed)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()
    imports = {"lib": "./lib.js", "../utils/": "./"}
    package = {"name": "lib", "version": "1.0.0", "integrity": integrity, "files": {"addon.js": "lib/addon.js"}}
    (tmp_path / "requirements" / "web.json").write_text(json.dumps({"page": [package | {"imports": imports}]}))
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\ncp {tmp_path}/lib-1.0.0.tgz .\necho lib-1.0.0.tgz\n")
    npm.chmod(0o755)
    return tmp_path


def vendor(checkout: Path, path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, checkout / "scripts" / "vendor_web", "page", checkout / "vendor"]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": path})


def test_imports_are_such_that_a_browser_finds_them_and_nothing_is_fetched_twice(checkout: Path) -> None:
    path = f"{checkout / 'bin'}:/usr/bin:/bin"
    assert vendor(checkout, path).returncode == 0
    lines = (checkout / "vendor" / "lib" / "addon.js").read_text().splitlines()
    assert lines[:2] == ["import { Scene } from './lib.js';", "import { a } from './a.js';"]
    assert vendor(checkout, path).returncode == 0
    assert (checkout / "calls").read_text().count("called") == 1


def test_another_archive_than_the_pinned_one_is_refused_and_what_was_there_stays(checkout: Path) -> None:
    path = f"{checkout / 'bin'}:/usr/bin:/bin"
    (checkout / "vendor").mkdir()
    (checkout / "vendor" / "kept").touch()
    (checkout / "lib-1.0.0.tgz").write_bytes(archive(SOURCE + b"evil();"))
    refused = vendor(checkout, path)
    assert refused.returncode == 2
    assert "lib@1.0.0 is not what web.json pins" in refused.stderr
    assert [item.name for item in (checkout / "vendor").iterdir()] == ["kept"]


def test_without_npm_one_line_says_what_to_install(checkout: Path) -> None:
    refused = vendor(checkout, str(checkout / "nothing"))
    assert refused.returncode == 2
    assert "apt install npm" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
