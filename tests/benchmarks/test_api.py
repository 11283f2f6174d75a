"""The benchmarks of the HTTP API, on few inputs."""

from __future__ import annotations

import json

import pytest

from benchmarks.api_fuzz import BENCHMARK as API_FUZZ


@pytest.mark.timeout(400)
def test_no_answer_is_undocumented(start, tmp_path):
    """A quick slice of ``make api-fuzz``: an example and an input of each route."""
    arguments = ["--max-examples", 2, "--phases", "examples,fuzzing", "--output", tmp_path]
    outcome = start(API_FUZZ, *arguments)
    said = (tmp_path / "schemathesis.log").read_text()
    assert outcome.code == 0, said
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["cases"] > 50 and summary["failures"] == 0
