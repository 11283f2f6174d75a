"""Scores over many frames: BOP average recall, tracking."""
