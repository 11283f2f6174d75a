"""Reports and data sets over HTTP: what is in their folders, and nothing beside them."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.io.images import write_image


@pytest.fixture
def folder(tmp_path):
    report = tmp_path / "out" / "bags" / "monday"
    report.mkdir(parents=True)
    (report / "report.html").write_text("<style>p { color: red }</style><p>A report")
    (report / "figures.json").write_text("{}")
    (report / ".hidden.json").write_text("{}")
    (report / "model.onnx").write_text("")
    (tmp_path / "secret.json").write_text("{}")
    (report / "link.json").symlink_to(tmp_path / "secret.json")
    return tmp_path


def test_reports_are_listed_and_shown_without_scripts(serve, folder):
    client = serve(reports_folder=str(folder / "out")).client
    (report,) = client.get("/v1/reports").json()
    assert (report["id"], report["page"]) == ("bags:monday", "report.html")
    page = client.get(f"/v1/reports/{report['id']}/{report['page']}")
    assert page.status_code == 200 and page.text.endswith("A report")
    policy = page.headers["content-security-policy"]
    assert "sandbox" in policy and "script" not in policy
    assert client.get("/v1/reports/bags:monday/figures.json").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "bags:monday/.hidden.json",
        "bags:monday/link.json",
        "bags:monday/model.onnx",
        "bags:monday/none.json",
        "bags:monday/..%2f..%2f..%2fsecret.json",
        "..:..:../secret.json",
        "..%2f..%2fout/secret.json",
        "::/secret.json",
        "bags:monday/%00",
        "bags:monday/" + "a" * 300 + ".json",
        "%2e%2e/secret.json",
    ],
)
def test_nothing_beside_a_report_is_shown(serve, folder, path):
    answer = serve(reports_folder=str(folder / "out")).client.get(f"/v1/reports/{path}")
    assert answer.status_code == 404, answer.text


def test_data_sets_are_listed(serve, tmp_path):
    boxes = tmp_path / "sets" / "boxes"
    (boxes / "labels").mkdir(parents=True)
    (boxes / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    write_image(boxes / "images" / "a.png", np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "sets" / "empty").mkdir()
    (found,) = serve(datasets_folder=str(tmp_path / "sets")).client.get("/v1/datasets").json()
    assert found == {"id": "boxes", "format": "yolo", "splits": []}


def test_folders_that_are_not_there_are_empty(serve, tmp_path):
    client = serve(datasets_folder=str(tmp_path / "a"), reports_folder=str(tmp_path / "b")).client
    assert client.get("/v1/datasets").json() == client.get("/v1/reports").json() == []
