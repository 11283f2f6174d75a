"""What a network is made of, counted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class PartSummary:
    """A part of a network: its name, its class, and how many of its values are learned and frozen."""

    name: str
    kind: str
    learned: int
    frozen: int


def summarise(network: nn.Module) -> list[PartSummary]:
    """Return a network's direct parts, and last the whole."""
    parts = [*network.named_children(), ("all", network)]
    return [PartSummary(name, type(part).__name__, *parameter_counts(part)) for name, part in parts]


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """Return how many values of a network are learned, and how many frozen."""
    learned = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return learned, sum(parameter.numel() for parameter in network.parameters()) - learned
