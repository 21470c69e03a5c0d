"""Stacked kernels: layers, functions and losses of m models, forward and backward, on fixed memory."""
