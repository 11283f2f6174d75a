"""How a verb reads a model's outputs: as its task wants, unless the user says otherwise."""

import argparse
import dataclasses

import pytest

from object_pose.cli.predictor_options import add_predictor_options, chosen_options
from object_pose.tasks.registry import TASKS


@pytest.mark.parametrize("defaults", [task.scored_options for task in TASKS.values()], ids=list(TASKS))
def test_every_option_of_a_task_counts_until_the_user_says_otherwise(defaults):
    parser = argparse.ArgumentParser()
    add_predictor_options(parser, "some.onnx")
    assert chosen_options(parser.parse_args([]), defaults) == defaults
    given = chosen_options(parser.parse_args(["--input-scale", "2.5"]), defaults)
    assert given == dataclasses.replace(defaults, input_scale=2.5)
