"""One training recipe per task."""
