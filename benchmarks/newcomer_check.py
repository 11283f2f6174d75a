"""What a newcomer types, from the pages of the documentation, in a fresh clone: install, demo, own part, bag, server.

Needs nothing but Python: the environment is what the pages' own commands make. Writes out/newcomer/summary.json.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "out" / "newcomer"
PAGES = ("first-ten-minutes", "own-part", "bags", "http")
# What the tests do not run, but this does, says so in the comment above it.
_BLOCK = re.compile(r"(?:<!-- not run: (.*?) -->\n)?^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_OURS = "make newcomer-check"


def steps() -> list[tuple[str, str]]:
    """Return (page, commands) in the order of reading."""
    found = []
    for page in PAGES:
        text = (ROOT / "docs" / f"{page}.md").read_text()
        found += [(page, block) for reason, block in _BLOCK.findall(text) if not reason or _OURS in reason]
    return found


def main() -> int:
    """Run every step; returns 1 where one fails."""
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        clone = Path(folder) / "object_pose"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TERM", "USER")}
        environment |= {"PATH": f"{clone}/.venv/bin:{os.environ['PATH']}"}
        rows, failed = [], 0
        for page, commands in steps():
            print(f"[{page}]\n{commands}", flush=True)
            start = time.monotonic()
            done = subprocess.run(["bash", "-euc", commands], cwd=clone, env=environment, check=False)
            seconds = round(time.monotonic() - start, 1)
            rows.append({"page": page, "commands": commands.strip(), "exit_code": done.returncode, "seconds": seconds})
            # What this machine lacks is doctor's answer, not its failure.
            if done.returncode and not commands.startswith("object-pose doctor"):
                failed += 1
                break
    OUTPUT.mkdir(parents=True, exist_ok=True)
    summary = {"steps": len(rows), "failed": failed, "rows": rows}
    (OUTPUT / "summary.json").write_text(json.dumps(summary, indent=1))
    print(f"{len(rows)} steps, {failed} failed; wrote {OUTPUT / 'summary.json'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
