"""Attention: scores, local windows, transformers, positions, non-local blocks."""
