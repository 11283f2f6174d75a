"""Training: networks, losses, data sources, one loop for all tasks, and export. Only here torch is imported."""
