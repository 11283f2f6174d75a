"""Simulated data sets, one module a task."""
