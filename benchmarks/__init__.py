"""The project's own acceptance runs, each a module: ``python -m benchmarks.pose_check --help``."""
