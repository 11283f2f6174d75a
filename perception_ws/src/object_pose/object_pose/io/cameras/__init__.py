"""Frame sources: files, recordings and cameras."""
