"""Text for people: numbers with units, durations, sizes, plurals, escaped names."""
