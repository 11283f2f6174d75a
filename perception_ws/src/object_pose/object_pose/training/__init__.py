"""Learning: the only room that imports torch. Networks, losses, data streams, one loop for all tasks, export."""
