"""Random scenes and the simulated camera's scene in motion."""
