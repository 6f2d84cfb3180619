"""A recording as tables: records by column, DataFrames, names, levels of detail."""
