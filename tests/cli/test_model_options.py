"""Models and their options on the command line: the same names, defaults and profiles on every verb."""

import argparse
import dataclasses
import importlib

import pytest

from object_pose.cli.main import VERBS
from object_pose.cli.model_options import add_estimator_options, estimator_from_options, open_predictor
from object_pose.core.pose.config import LIVE, SINGLE_IMAGE
from object_pose.runtime.resources import find_model
from object_pose.tasks.registry import TASKS


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_estimator_options(parser)
    return parser.parse_args([str(argument) for argument in arguments])


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("name", ["workplace.onnx", "oriented.onnx"])
def test_a_task_decides_how_its_model_is_read_until_the_user_says_otherwise(name, scored):
    for options, changes in ((parse(), {}), (parse("--decoding.input-scale", "2.5"), {"input_scale": 2.5})):
        predictor = open_predictor(options, find_model(name), scored)
        task = TASKS[predictor.task.name]
        expected = task.scored_options if scored else task.options
        given = dataclasses.replace(predictor.decoding, layout="", keypoint_count=0)
        assert given == dataclasses.replace(expected, **changes)


@pytest.mark.parametrize(
    ("arguments", "usual", "profile"),
    [
        ((), "live", LIVE),
        ((), "single_image", SINGLE_IMAGE),
        (("--profile", "single_image"), "live", SINGLE_IMAGE),
        (("--profile", "live"), "single_image", LIVE),
    ],
)
def test_a_profile_sets_detector_and_solver_where_no_option_does(cube_model, arguments, usual, profile):
    estimator = estimator_from_options(parse("--model", cube_model, *arguments), profile=usual)
    assert estimator.detector.decoding.score_threshold == profile.decoding.score_threshold
    assert estimator.solver_config == profile.solver
    own = ("--solver.depth.scale-sigma", "0.01", "--decoding.score-threshold", "0.2")
    estimator = estimator_from_options(parse("--model", cube_model, *arguments, *own), profile=usual)
    assert estimator.detector.decoding.score_threshold == 0.2
    depth = dataclasses.replace(profile.solver.depth, scale_sigma=0.01)
    assert estimator.solver_config == dataclasses.replace(profile.solver, depth=depth)


def model_parsers():
    """Give every (sub-)parser of the command line that has an option for a model."""
    for verb in VERBS:
        parser = argparse.ArgumentParser(prog=verb)
        importlib.import_module(f"object_pose.cli.{verb.replace('-', '_')}").add_options(parser)
        yield from _with_model(parser)


def _with_model(parser):
    if any("--model" in action.option_strings for action in parser._actions):
        yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _with_model(sub)


def test_every_verb_takes_the_name_of_a_shipped_model():
    parsers = list(model_parsers())
    assert len(parsers) > 8
    for parser in parsers:
        (action,) = (action for action in parser._actions if "--model" in action.option_strings)
        assert parser._get_value(action, "workplace.onnx") == find_model("workplace.onnx"), parser.prog
        with pytest.raises(argparse.ArgumentError, match=r"nothing.onnx was not found"):
            parser._get_value(action, "nothing.onnx")


def test_an_unknown_option_is_told_the_nearest_known_one(cli, cube_model):
    outcome = cli("predict", "photo.png", "--score-threshold", "0.2", "--model", cube_model)
    assert outcome.code == 2
    assert "--decoding.score-threshold" in outcome.problem
