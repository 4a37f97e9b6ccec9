"""The command line: what it reads, what it prints; one file a command."""
