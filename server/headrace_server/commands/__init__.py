"""The server's commands for the command line; the client finds them by their entry points."""
