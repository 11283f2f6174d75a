"""One validated result type per task."""
