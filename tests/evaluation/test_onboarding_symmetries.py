"""The list of symmetries: what is refused is no longer what the option says, and what is nearly one is offered."""

from __future__ import annotations

import pytest
import trimesh

from cad_files import save_part
from object_pose.core.geometry import se3
from object_pose.evaluation.reports.onboarding.symmetries import PartSymmetry, symmetry_rows
from object_pose.simulation.parts.cad import read_parts
from object_pose.simulation.parts.symmetry import find_symmetry, measured_axes, parse_symmetry


@pytest.mark.parametrize("sides_mm", [(40.0, 30.0, 60.0), (50.0, 50.0, 50.0)])
def test_an_option_to_refuse_an_axis_states_a_symmetry_without_it(tmp_path, sides_mm):
    trimesh.creation.box(sides_mm).export(tmp_path / "block.stl")
    (part,) = read_parts([tmp_path / "block.stl"])
    symmetry = find_symmetry(part.mesh).symmetry
    rows = [row for row in symmetry_rows([PartSymmetry(part, symmetry, "found")]) if row.state == "found"]
    axes = measured_axes(part.mesh, symmetry)
    assert len(rows) == min(len(axes), 4)
    for row, axis in zip(rows, axes):
        (_, keep), (_, refuse) = row.options
        assert keep == "--symmetry block=found"
        left = parse_symmetry(refuse.removeprefix("--symmetry block="), part.box_centre)
        assert min(se3.rotation_angle(turn[:3, :3], axis.worst[:3, :3]) for turn in left.transforms) > 0.1


def test_a_bolt_may_be_round_hexagonal_or_turned_end_to_end(tmp_path):
    (part,) = read_parts([save_part(tmp_path, "hex_bolt")])
    rows = symmetry_rows([PartSymmetry(part, find_symmetry(part.mesh).symmetry, "found")])
    assert [(row.text, row.state) for row in rows] == [("round about z", "found"), ("half turn about x", "not used")]
    assert rows[0].options[1] == ("refuse", "--symmetry hex_bolt=z6")
    assert rows[1].options == (("use", "--symmetry hex_bolt=z,x2"),)
    stated = symmetry_rows([PartSymmetry(part, parse_symmetry("z6", part.box_centre), "stated")])
    assert [(row.text, row.options) for row in stated] == [
        ("6-fold about z", (("refuse", "--symmetry hex_bolt=none"),)),
        ("half turn about x", (("use", "--symmetry hex_bolt=z6,x2"),)),
        ("round about z", (("use", "--symmetry hex_bolt=z"),)),
    ]
    assert 1.0 < rows[0].residual_mm < rows[1].residual_mm and rows[0].picture.startswith("data:image/jpeg")
