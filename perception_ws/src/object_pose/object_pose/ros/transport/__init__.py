"""Topics, quality of service, pairing, transforms and worker threads."""
