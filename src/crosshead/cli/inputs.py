"""From the names on the command line to what is tagged, in order and in chunks."""
