"""Rows: read, locked away, split into folds and transformed fold by fold."""
