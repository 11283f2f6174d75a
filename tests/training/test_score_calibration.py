"""ScoreCalibration: wrong scales and shifts of logits are found and undone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from object_pose.training.networks.classifier import fit_score_calibration


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (3.0, 0.0), (0.5, 1.5), (2.0, -1.0)])
def test_what_was_done_to_true_log_odds_is_undone(scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.stack([3.0 * torch.randn(20_000, generator=generator), torch.zeros(20_000)], dim=1)
    class_ids = torch.multinomial(true.softmax(dim=1), 1, generator=generator)[:, 0]
    calibration = fit_score_calibration(scale * true + torch.tensor([shift, 0.0]), class_ids)
    assert calibration.scale == pytest.approx(1.0 / scale, rel=0.06)
    assert calibration.shift[0] - calibration.shift[1] == pytest.approx(-shift / scale, abs=0.08)
    assert sum(calibration.shift) == pytest.approx(0.0, abs=1e-5)


def test_classes_that_never_err_keep_a_finite_scale() -> None:
    logits = torch.tensor([[2.0, -2.0], [-2.0, 2.0]] * 20)
    calibration = fit_score_calibration(logits, torch.tensor([0, 1] * 20))
    assert 0.5 < calibration.scale < 50.0
    assert calibration.apply(logits).argmax(dim=1).tolist() == [0, 1] * 20
