"""A recording in the formats of other tools: Parquet, CSV, JSON lines, Perfetto."""
