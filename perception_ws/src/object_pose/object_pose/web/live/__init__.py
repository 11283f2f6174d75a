"""The running pipeline for many who watch it: the newest frame, its encodings and streams."""
