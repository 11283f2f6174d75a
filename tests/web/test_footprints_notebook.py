"""The client notebook of source 004 against a live server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat

from tiles import save_tiles

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "footprints_client.ipynb"


def test_the_notebook_is_committed_without_results():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_notebook_runs_against_a_live_server(shipped, tmp_path):
    environment = os.environ | {
        "OBJECT_POSE_URL": str(shipped.client.base_url),
        "FOOTPRINTS": str(save_tiles(tmp_path / "tiles")),
    }
    command = [sys.executable, ROOT / "scripts" / "run_notebook", NOTEBOOK, tmp_path / "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(tmp_path / "out" / NOTEBOOK.name, as_version=4)
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    text = "\n".join(data.get("text/markdown", "") for data in shown)
    assert "4 images of 48x48 pixels" in text
    assert all(f"| {name} |" in text for name in ("accuracy", "precision", "recall", "mean IoU"))
    assert [data for data in shown if "image/png" in data]
