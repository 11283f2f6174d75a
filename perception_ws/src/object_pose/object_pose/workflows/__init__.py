"""Long tasks as typed functions, a config in and a result out: what the command line, the web and operations call."""
