"""Routes, one module a subject; each has ``router(services)``."""
