"""The notebook as it is committed, and the script that runs notebooks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "run_notebook"


def run(notebook, folder):
    command = [sys.executable, str(SCRIPT), str(notebook), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write(path, *sources):
    cells = [nbformat.v4.new_markdown_cell("# A *title*"), *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_the_workplace_notebook_is_clean_and_every_import_exists():
    notebook = nbformat.read(ROOT / "notebooks" / "workplace.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    for cell in code:
        compile(cell.source, cell.id, "exec")
    imports = [line for cell in code for line in cell.source.splitlines() if line.startswith("from object_pose")]
    assert len(imports) > 10
    for line in imports:
        exec(line, {})


def test_a_notebook_is_run_and_written_as_a_page(tmp_path):
    source = write(
        tmp_path / "small.ipynb", "print(6 * 7)", "from IPython.display import Markdown\nMarkdown('a **b**')"
    )
    outcome = run(source, tmp_path / "out")
    assert outcome.returncode == 0, outcome.stderr
    page = (tmp_path / "out" / "small.html").read_text()
    for expected in ("<em>title</em>", "42", "a <strong>b</strong>"):
        assert expected in page
    assert json.loads((tmp_path / "out" / "small.ipynb").read_text())["cells"][1]["outputs"]
    assert not json.loads(source.read_text())["cells"][1]["outputs"]


@pytest.mark.parametrize("source", ["raise ValueError('no such\\ndata')", "raise SystemExit('no such data')"])
def test_a_fault_is_one_line_and_what_ran_is_kept(tmp_path, source):
    outcome = run(write(tmp_path / "bad.ipynb", "print('before')", source, "print('after')"), tmp_path / "out")
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1 and "no such data" in outcome.stderr
    page = (tmp_path / "out" / "bad.html").read_text()
    assert "before" in page and ">after<" not in page


def test_what_libraries_say_beside_the_notebook_is_not_shown(tmp_path):
    source = write(tmp_path / "loud.ipynb", "import os\nos.write(2, b'Assertion failed somewhere')\nprint('done')")
    outcome = run(source, tmp_path / "out")
    assert outcome.returncode == 0 and not outcome.stderr


def test_of_a_kernel_that_dies_the_last_words_are_told(tmp_path):
    last_words = "import os\nos.write(2, b'no such memory\\n')\nos.abort()"
    outcome = run(write(tmp_path / "dead.ipynb", "print('before')", last_words), tmp_path / "out")
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1 and "the kernel died: no such memory" in outcome.stderr
    assert "before" in (tmp_path / "out" / "dead.html").read_text()
