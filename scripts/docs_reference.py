"""A hook of MkDocs: the reference pages, made from the parsers, parameters, messages and public names of the code."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "perception_ws/src/object_pose"))

import object_pose  # noqa: E402
from object_pose.cli.main import VERBS, make_parser  # noqa: E402
from object_pose.core.params import Parameter, parameters  # noqa: E402

MESSAGES = ROOT / "perception_ws/src/object_pose_msgs"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace 'folder/*.md' in the navigation by what lies there."""
    config.nav = _expanded(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, page in (
        ("commands", commands_page),
        ("parameters", parameters_page),
        ("messages", messages_page),
        ("python", python_page),
    ):
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show links to files outside the site, which exist in a checkout only, as their paths."""
    depth = page.file.src_uri.count("/") + 1

    def shown(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        if target.count("../") < depth:
            return match[0]
        path = target.replace("../", "").partition("#")[0]
        assert (ROOT / path).exists(), f"{page.file.src_uri} links to {target}, which is not there"
        return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"

    return re.sub(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?:\.\./)+[^)\s]+)\)", shown, markdown)


def commands_page() -> str:
    """Return the reference of the command line: every verb with its options and examples."""
    text = "# Commands\n\nExit codes: 0, 1 for a check that failed, 2 for bad input, 130 when interrupted.\n"
    for verb, summary in VERBS.items():
        choices = next(a for a in make_parser(verb)._actions if isinstance(a, argparse._SubParsersAction)).choices
        text += f"\n## {verb}\n\n{summary.capitalize()}.\n" + _parser_text(choices[verb], 3)
    return text


def parameters_page() -> str:
    """Return the reference of the nodes' parameters."""
    from object_pose.ros.nodes.camera_node import CameraNodeConfig
    from object_pose.ros.nodes.detection_node import DetectionNodeConfig
    from object_pose.ros.nodes.pose_node import PoseNodeConfig
    from object_pose.runtime.predictor import PredictorConfig

    text = (
        "# Parameters\n\nOf the nodes, as `ros2 param describe` shows them; `config/nodes.yaml` has the usual ones. "
        "The commands take the same names with dashes: `--solver.depth.scale-sigma`.\n"
    )
    for node, configs in (
        ("camera_node", (CameraNodeConfig,)),
        ("detection_node", (DetectionNodeConfig, PredictorConfig)),
        ("pose_node", (PoseNodeConfig, PredictorConfig)),
    ):
        items = {item.name: item for config in configs for item in parameters(config)}
        text += f"\n## {node}\n\n| parameter | default | bounds | |\n| --- | --- | --- | --- |\n"
        text += "".join(_parameter_row(item) for item in items.values())
    return text


def messages_page() -> str:
    """Return the definitions of messages and services."""
    text = "# Messages and services\n\nOf the package `object_pose_msgs`.\n"
    for file in sorted((*MESSAGES.glob("msg/*.msg"), *MESSAGES.glob("srv/*.srv"))):
        text += f"\n## {file.stem}\n\n```text\n{file.read_text().strip()}\n```\n"
    return text


def python_page() -> str:
    """Return the public names of the package with their docstrings."""
    text = "# Python\n\n`from object_pose import ...`; none of it needs ROS.\n"
    for name in object_pose.__all__:
        item = getattr(object_pose, name)
        text += f"\n## {name}\n\n" + _described(name, item)
        if inspect.isclass(item):
            text += "".join(
                f"\n### {name}.{method}\n\n" + _described(method, member)
                for method, member in inspect.getmembers(item, inspect.isfunction)
                if not method.startswith("_")
            )
    return text


def _expanded(items: Any) -> Any:
    if isinstance(items, list):
        return [_expanded(item) for item in items]
    if isinstance(items, dict):
        return {name: _expanded(value) for name, value in items.items()}
    if "*" in items:
        return [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").glob(items))]
    return items


def _parser_text(parser: argparse.ArgumentParser, level: int) -> str:
    subs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    text = ""
    for group in parser._action_groups:
        actions = [
            a for a in group._group_actions if not isinstance(a, (argparse._SubParsersAction, argparse._HelpAction))
        ]
        actions = [a for a in actions if a.help is not argparse.SUPPRESS]
        if actions:
            title = (
                "" if group.title in ("options", "positional arguments") else f"\n{(group.title or '').capitalize()}:\n"
            )
            text += f"{title}\n| option | |\n| --- | --- |\n" + "".join(_action_row(a, parser) for a in actions)
    if parser.epilog and "examples:" in parser.epilog:
        text += f"\n```text\n{inspect.cleandoc(parser.epilog)}\n```\n"
    for sub in subs:
        for name, child in sub.choices.items():
            summary = next((a.help for a in sub._choices_actions if a.dest == name), "") or ""
            text += f"\n{'#' * level} {parser.prog.partition(' ')[2]} {name}\n\n{summary.capitalize()}.\n"
            text += _parser_text(child, min(level + 1, 6))
    return text


def _action_row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    shown = ", ".join(action.option_strings) or action.metavar or action.dest
    if action.option_strings and action.nargs != 0:
        shown += f" {action.metavar or ('|'.join(map(str, action.choices)) if action.choices else action.dest.upper())}"
    expand = parser._get_formatter()._expand_help
    return _row(f"`{shown}`", expand(action) if action.help else "")


def _parameter_row(item: Parameter) -> str:
    bounds = ", ".join(item.choices)
    if item.minimum is not None or item.maximum is not None:
        low, high = ("" if bound is None else f"{bound:g}" for bound in (item.minimum, item.maximum))
        bounds = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}"
    text = item.description + (" (at start only)" if item.read_only else "")
    return _row(f"`{item.name}`", f"`{item.default!r}`", bounds, text)


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"


def _described(name: str, item: Any) -> str:
    return f"```python\n{_signature(name, item)}\n```\n\n{inspect.getdoc(item) or ''}\n"


def _signature(name: str, item: Any) -> str:
    try:
        return f"{name}{inspect.signature(item)}"
    except (TypeError, ValueError):
        return name
