"""The report on an evaluation: figures, curves, and the frames with most errors."""
