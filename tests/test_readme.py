"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_python_example_runs(monkeypatch, capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["pose"].T_camera_object.shape == (4, 4)
    printed = capsys.readouterr().out
    for part in ("hex_bolt", "spring", "bracket", "pipe_elbow", "bushing", "gear"):
        assert part in printed


def test_importing_the_package_imports_nothing_else():
    program = "import sys, object_pose; print({'numpy', 'cv2', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there():
    import object_pose

    assert {name for name in object_pose.__all__ if not callable(getattr(object_pose, name))} == set()
    assert set(object_pose.__all__) <= set(dir(object_pose))
