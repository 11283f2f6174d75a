"""The command line: every module is one verb, which parses, calls and prints."""
