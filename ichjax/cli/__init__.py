"""The command line: the parser, the entry point, and one function per command."""
