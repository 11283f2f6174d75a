"""What happens beside the learning: records, TensorBoard, and what a caller adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from object_pose.training.loop import Trainer

_RECORDED_EVERY = 20  # steps


class TrainingCallback:
    """Called by the training loop; each method does nothing unless a subclass says what.

    ``on_step`` ends the run well with ``trainer.stop()``, and at once, with the checkpoint saved, by raising
    ``core.errors.CancelledError``.
    """

    def on_start(self, trainer: Trainer) -> None:
        """``trainer.step`` steps are done already, more than 0 where the run is resumed."""

    def on_step(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """A step is done; ``figures`` are the parts of its loss and the learning rate."""

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """``trainer.average`` was measured on held-out data."""

    def on_end(self, trainer: Trainer) -> None:
        """The run ends, in whatever way."""


class Records(TrainingCallback):
    """Writes the figures into the run folder."""

    def on_step(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Record one step in twenty."""
        if trainer.step % _RECORDED_EVERY == 0:
            trainer.folder.record(trainer.step, "train", figures)

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Record every validation."""
        trainer.folder.record(trainer.step, "validation", figures)


@runtime_checkable
class IllustratedRecipe(Protocol):
    """A recipe that can show what its network does."""

    def pictures(self, network: nn.Module) -> Mapping[str, NDArray[np.uint8]]:
        """Return named (H, W, 3) pictures of the averaged network on held-out data."""
        ...


class TensorBoard(TrainingCallback):
    """Writes the figures, and the pictures of an illustrated recipe, as events into the run folder."""

    def __init__(self) -> None:
        self._writer: Any = None

    def on_start(self, trainer: Trainer) -> None:
        """Open the event file; what a killed run wrote after its checkpoint is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(trainer.folder.path), purge_step=trainer.step)

    def on_step(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Write one step in twenty."""
        if trainer.step % _RECORDED_EVERY == 0:
            self._add("train", trainer.step, figures)

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Write every validation, with pictures."""
        self._add("validation", trainer.step, figures)
        if isinstance(trainer.recipe, IllustratedRecipe):
            for name, picture in trainer.recipe.pictures(trainer.average).items():
                self._writer.add_image(name, picture, trainer.step, dataformats="HWC")

    def on_end(self, trainer: Trainer) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, split: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)
