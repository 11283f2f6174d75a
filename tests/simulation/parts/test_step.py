"""STEP files, where the extra that reads them is there: a box in its own unit, and files that are none."""

from __future__ import annotations

import importlib.util
import itertools

import pytest

from object_pose.core.errors import DataError
from object_pose.simulation.parts.cad import read_parts

CASCADIO = importlib.util.find_spec("cascadio")
needs_cascadio = pytest.mark.skipif(CASCADIO is None, reason="the extra 'step' is not installed")
# Corners by bits x, y, z; outward normal and an axis in the plane.
FACES = (
    ((0, 1, 3, 2), (-1, 0, 0), (0, 1, 0)), ((4, 6, 7, 5), (1, 0, 0), (0, 1, 0)),
    ((0, 4, 5, 1), (0, -1, 0), (1, 0, 0)), ((2, 3, 7, 6), (0, 1, 0), (1, 0, 0)),
    ((0, 2, 6, 4), (0, 0, -1), (1, 0, 0)), ((1, 5, 7, 3), (0, 0, 1), (1, 0, 0)),
)  # fmt: skip


class StepFile:
    """Entities of a STEP file, numbered as they are added."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, text: str) -> str:
        self.lines.append(text)
        return f"#{len(self.lines)}"

    def vector(self, kind: str, values) -> str:
        return self.add(f"{kind}('',({','.join(str(float(value)) for value in values)}))")

    def text(self) -> str:
        body = "".join(f"#{index + 1}={line};\n" for index, line in enumerate(self.lines))
        head = "FILE_DESCRIPTION((''),'2;1');\nFILE_NAME('','',(''),(''),'','','');\n"
        head += "FILE_SCHEMA(('AUTOMOTIVE_DESIGN'));\n"
        return f"ISO-10303-21;\nHEADER;\n{head}ENDSEC;\nDATA;\n{body}ENDSEC;\nEND-ISO-10303-21;\n"


def box(size, prefix: str) -> str:
    """A solid box in AP214, in metres with an SI prefix."""
    file = StepFile()
    corners = [tuple(s * c for s, c in zip(size, corner)) for corner in itertools.product((0, 1), repeat=3)]
    points = [file.vector("CARTESIAN_POINT", corner) for corner in corners]
    vertices = [file.add(f"VERTEX_POINT('',{point})") for point in points]
    edges: dict[tuple[int, int], str] = {}

    def oriented(first: int, last: int) -> str:
        ends = min(first, last), max(first, last)
        if ends not in edges:
            delta = [end - start for start, end in zip(corners[ends[0]], corners[ends[1]])]
            along = file.vector("DIRECTION", [value / sum(delta) for value in delta])
            vector = file.add(f"VECTOR('',{along},1.)")
            line = file.add(f"LINE('',{points[ends[0]]},{vector})")
            edges[ends] = file.add(f"EDGE_CURVE('',{vertices[ends[0]]},{vertices[ends[1]]},{line},.T.)")
        return file.add(f"ORIENTED_EDGE('',*,*,{edges[ends]},.{'T' if first < last else 'F'}.)")

    faces = []
    for loop, normal, axis in FACES:
        around = ",".join(oriented(first, last) for first, last in zip(loop, loop[1:] + loop[:1]))
        edge_loop = f"EDGE_LOOP('',({around}))"
        bound = file.add(f"FACE_OUTER_BOUND('',{file.add(edge_loop)},.T.)")
        directions = f"{file.vector('DIRECTION', normal)},{file.vector('DIRECTION', axis)}"
        place = file.add(f"AXIS2_PLACEMENT_3D('',{points[loop[0]]},{directions})")
        plane = file.add(f"PLANE('',{place})")
        faces.append(file.add(f"ADVANCED_FACE('',({bound}),{plane},.T.)"))
    shell = file.add(f"CLOSED_SHELL('',({','.join(faces)}))")
    solid = file.add(f"MANIFOLD_SOLID_BREP('',{shell})")
    length = file.add(f"(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT({prefix},.METRE.))")
    angle = file.add("(NAMED_UNIT(*)PLANE_ANGLE_UNIT()SI_UNIT($,.RADIAN.))")
    solid_angle = file.add("(NAMED_UNIT(*)SI_UNIT($,.STERADIAN.)SOLID_ANGLE_UNIT())")
    context = file.add(
        f"(GEOMETRIC_REPRESENTATION_CONTEXT(3)GLOBAL_UNIT_ASSIGNED_CONTEXT(({length},{angle},{solid_angle}))"
        "REPRESENTATION_CONTEXT('',''))"
    )
    origin = file.vector("CARTESIAN_POINT", (0, 0, 0))
    directions = f"{file.vector('DIRECTION', (0, 0, 1))},{file.vector('DIRECTION', (1, 0, 0))}"
    axes = file.add(f"AXIS2_PLACEMENT_3D('',{origin},{directions})")
    shape = file.add(f"ADVANCED_BREP_SHAPE_REPRESENTATION('',({axes},{solid}),{context})")
    application = file.add("APPLICATION_CONTEXT('automotive design')")
    product_context = file.add(f"PRODUCT_CONTEXT('',{application},'mechanical')")
    product = file.add(f"PRODUCT('box','box','',({product_context}))")
    formation = file.add(f"PRODUCT_DEFINITION_FORMATION('','',{product})")
    design = file.add(f"PRODUCT_DEFINITION_CONTEXT('part definition',{application},'design')")
    definition = file.add(f"PRODUCT_DEFINITION('design','',{formation},{design})")
    defined = file.add(f"PRODUCT_DEFINITION_SHAPE('','',{definition})")
    file.add(f"SHAPE_DEFINITION_REPRESENTATION({defined},{shape})")
    return file.text()


@needs_cascadio
@pytest.mark.parametrize(("prefix", "in_metres"), [(".MILLI.", 1e-3), (".CENTI.", 1e-2), ("$", 1.0)])
@pytest.mark.parametrize("unit", ["", "mm"])
def test_a_box_has_the_size_that_its_file_says(tmp_path, prefix, in_metres, unit):
    (tmp_path / "Box.STEP").write_text(box((0.04 / in_metres, 0.03 / in_metres, 0.02 / in_metres), prefix))
    (part,) = read_parts([tmp_path / "Box.STEP"], unit)
    assert part.size_m == pytest.approx((0.04, 0.03, 0.02), abs=1e-6)
    assert part.is_closed and part.mesh.volume == pytest.approx(2.4e-5, rel=1e-4)


@needs_cascadio
@pytest.mark.parametrize(
    "damage",
    [lambda text: "hello", lambda text: "", lambda text: text[:1500]],
    ids=["text", "empty", "cut"],
)
def test_what_is_no_solid_is_named(tmp_path, damage):
    (tmp_path / "box.stp").write_text(damage(box((40, 30, 20), ".MILLI.")))
    with pytest.raises(DataError, match=r"box\.stp"):
        read_parts([tmp_path / "box.stp"])
