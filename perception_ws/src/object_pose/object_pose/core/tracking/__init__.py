"""Identities and filtered poses over time."""
