"""HTTP in: thin modules that turn requests into calls and replies into answers."""
