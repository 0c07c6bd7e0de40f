"""A/B analysis: two arms from CSV files or run directories, compared against limits."""
