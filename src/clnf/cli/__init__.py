"""The command line: parse, call, show. No physics, and no torch before a command needs it."""
