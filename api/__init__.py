"""The ways in: REST routes, the console page, the command line, and the composition of the whole."""
