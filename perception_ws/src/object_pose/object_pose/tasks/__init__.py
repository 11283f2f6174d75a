"""One short file per task: how outputs become results, how results are described, and what they are measured by."""
