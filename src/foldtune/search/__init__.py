"""The search: which configurations are tried, and when they stop."""
