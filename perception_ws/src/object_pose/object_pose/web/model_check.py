"""Whether an uploaded file is a model that the server can use, found out in a process of limited memory and time.

``python -m object_pose.web.model_check FILE`` prints one JSON object: ``{}``, or ``{"problem": ...}``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from object_pose.core.errors import ModelError, ObjectPoseError
from object_pose.runtime.processes import end_with_parent

_MEMORY_BYTES = 6 << 30
_CPU_SECONDS, _SECONDS = 120, 180


def check_upload(path: Path) -> None:
    """Raise ``ModelError`` where a file is no ONNX model of ours, refers to other files, or takes too much to open."""
    command = [sys.executable, "-m", __name__, str(path)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, preexec_fn=end_with_parent()
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the model was not open after {_SECONDS} s", "upload a smaller one") from error
    try:
        problem = json.loads(done.stdout.splitlines()[-1]).get("problem")
    except (ValueError, IndexError):
        problem = f"opening it ended with exit code {done.returncode}: it is damaged, or takes more than is allowed"
    if problem:
        raise ModelError(f"the upload is no model that can be used: {problem}")


def main(path: Path) -> int:
    """Check a file in this process, and say what is wrong with it."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    try:
        _check_is_self_contained(path)
        from object_pose.web.predictor.opened_model import OpenedModel

        OpenedModel(path)
    except ObjectPoseError as error:
        _say({"problem": str(error).replace(str(path), "the file")})
    except MemoryError:
        _say({"problem": "it takes more memory than is allowed"})
    else:
        _say({})
    return 0


def _say(outcome: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(outcome) + "\n")


def _check_is_self_contained(path: Path) -> None:
    """Refuse weights in other files: a model could name any file of this machine."""
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelError("it is no ONNX file", "export the model to ONNX") from error
    graphs = [model.graph, *model.functions]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(graphs)):
        raise ModelError("its weights lie in other files", "export it as one file")


def _tensors(graphs: Iterable[Any]) -> Iterator[Any]:
    """Yield the tensors of graphs, functions, and of the graphs inside their nodes."""
    for graph in graphs:
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                yield from _tensors([*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
