"""The command line: a module for each verb, which parses, calls and prints; the other modules are what verbs share."""
