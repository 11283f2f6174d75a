"""What the demo records and measures of a run."""
