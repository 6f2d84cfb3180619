"""Analysis as a fold over batches of records: slices in order of time, and summaries of what they hold."""
