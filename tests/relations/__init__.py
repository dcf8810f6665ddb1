"""Tests of course_lib/latent."""
