"""The pages of the documentation: the site builds without a warning, and what they tell to type works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from documented import are_valid, commands
from object_pose.simulation.scenes.live import LiveConfig, LiveScene
from recorded_bag import write_recorded_bag

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Files of a checkout that commands may read.
CHECKOUT = ("examples", "models", "calibration")


class Block(NamedTuple):
    """A block of commands, with the reason why it is not run ('' where it is)."""

    language: str
    text: str
    reason: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(
        r"(?:<!-- not run: (.*?) -->\n)?^```(sh|python)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [Block(language, text, reason) for reason, language, text in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_valid(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        are_valid(commands(block.text), tmp_path)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(not b.reason for b in blocks(page))], ids=lambda page: page.stem
)
@pytest.mark.timeout(400)
def test_what_a_page_tells_to_type_works(page, tmp_path):
    for name in CHECKOUT:
        shutil.copytree(ROOT / name, tmp_path / name)
    scene = LiveScene(0, LiveConfig(motion=0.0))
    frames = [scene.frame(index * 0.1, 1_000_000_000 + index * 100_000_000) for index in range(2)]
    write_recorded_bag(tmp_path / "out" / "demo" / "bag", frames, "parts.onnx")
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for block in blocks(page):
        if block.reason:
            continue
        command = ["bash", "-euc", block.text] if block.language == "sh" else [sys.executable, "-c", block.text]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PATH": programs}, capture_output=True, text=True, check=False
        )
        # What a machine lacks is doctor's answer, not its failure.
        assert done.returncode == 0 or block.text.startswith("object-pose doctor"), f"{block.text}\n{done.stderr}"


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--max-minutes" in (tmp_path / "reference" / "commands.html").read_text()
    assert "solver.depth" in (tmp_path / "reference" / "parameters.html").read_text()


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    assert {page.name for page in PAGES} <= set(re.findall(r"- (\S+\.md)", text))
