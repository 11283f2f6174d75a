"""The kinds of jobs: their options, and the workflows that they call. For the worker alone."""
