"""Evaluation: models on labelled frames, recordings and samples, to figures, tables and reports."""
