"""Measuring: labelled frames through the pipeline, to figures, tables and pictures."""
