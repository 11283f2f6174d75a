"""What the command line says of itself: every verb has help, and every documented command is a valid one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from documented import are_valid, commands
from object_pose import __version__
from object_pose.cli.main import VERBS

README = Path(__file__).parents[2] / "README.md"


def test_the_overview_names_every_verb(cli):
    outcome = cli("--help")
    assert outcome.code == 0
    for verb, summary in VERBS.items():
        assert verb in outcome.out and summary.split()[0] in outcome.out


def test_the_version(cli):
    assert cli("--version").out == f"object-pose {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples_that_are_valid(cli, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli(verb, "--help")
    assert outcome.code == 0
    examples = commands(importlib.import_module(f"object_pose.cli.{verb.replace('-', '_')}").EXAMPLES)
    assert examples and "examples:" in outcome.out
    assert {arguments[0] for arguments in examples} == {verb}
    are_valid(examples, tmp_path)


def test_the_commands_of_the_readme_are_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    documented = commands(README.read_text())
    assert len(documented) > 5
    are_valid(documented, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "VERB"),
        (["predicct"], "predicct"),
        (["predict", "a.png", "--colour", "red"], "--colour red"),
        (["train", "segmentation", "--output", "x"], "segmentation"),
        (["generate"], "--output"),
        (["bag", "play", "x"], "play"),
    ],
)
def test_wrong_arguments_are_one_line(cli, arguments, text):
    assert text in cli(*arguments).problem
