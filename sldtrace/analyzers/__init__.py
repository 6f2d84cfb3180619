"""One file per finding; each says what it needs and returns findings with numbers and evidence."""
