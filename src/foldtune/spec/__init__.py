"""The study file: read, checked and fingerprinted."""
