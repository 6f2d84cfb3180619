"""One module per finding: what it looks for, what it needs of a recording, its numbers and its text."""
