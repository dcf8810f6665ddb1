"""Grading: untrusted notebooks in, results, a gradebook and feedback out. docs/grading.md tells the whole story."""
