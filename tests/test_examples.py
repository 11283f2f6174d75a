"""The examples are in step with the package: they compile, name its services as they are, and their tree is whole."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from object_pose_msgs.srv import EstimatePoses, SetModel

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# Of BehaviorTree.CPP itself, as far as the tree uses them.
BUILT_IN = {"Sequence", "Fallback", "RetryUntilSuccessful", "KeepRunningUntilFailure", "AlwaysSuccess", "SubTree"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_program_says_how_it_is_started(path):
    module = ast.parse(path.read_text())
    assert path.name in (ast.get_docstring(module) or "")
    imported = {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module}
    ours = {name for name in imported if name.startswith("object_pose.")}
    assert all(importlib.util.find_spec(name) for name in ours)


def test_the_behaviour_tree_is_whole():
    root = ElementTree.parse(EXAMPLES / "pick_tree.xml").getroot()
    assert root.get("BTCPP_format") == "4"
    trees = {tree.get("ID"): tree for tree in root.iter("BehaviorTree")}
    assert root.get("main_tree_to_execute") in trees
    model = root.find("TreeNodesModel")
    ports = {item.get("ID"): {port.get("name") for port in item} for item in model}
    for tree in trees.values():
        for node in list(tree.iter())[1:]:
            name = node.get("ID") if node.tag == "SubTree" else node.tag
            assert node.tag in BUILT_IN or name in ports, name
            if name in ports:
                assert set(node.keys()) - {"ID", "name"} == ports[name], name
            if node.tag == "SubTree":
                assert name in trees


def test_the_behaviour_tree_calls_our_services_by_their_fields():
    root = ElementTree.parse(EXAMPLES / "pick_tree.xml").getroot()
    for tag, service in (("SetModel", SetModel), ("EstimatePoses", EstimatePoses)):
        (leaf,) = root.iter(tag)
        fields = service.Request.get_fields_and_field_types()
        asked = set(leaf.keys()) - {"service_name", "poses"}
        assert asked <= set(fields)
    assert "result" in EstimatePoses.Response.get_fields_and_field_types()


def test_the_python_tree_waits_for_poses(ros_free_tree):
    tree, status = ros_free_tree
    tree.tick_once()
    assert tree.status == status.RUNNING


@pytest.fixture
def ros_free_tree(monkeypatch):
    """The tree on a node of its own, where py_trees is installed."""
    py_trees = pytest.importorskip("py_trees", reason="py_trees is not installed")
    import rclpy

    monkeypatch.syspath_prepend(str(EXAMPLES))
    import pick_tree

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = rclpy.create_node("pick_tree", context=context)
    yield pick_tree.make_tree(node, {}, "/pick"), py_trees.common.Status
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_security_script_is_a_script_and_says_how_to_use_it():
    script = EXAMPLES / "secure.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    refused = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "usage:" in refused.stderr
