"""Rendered aerial tiles with their building masks."""
