"""Sequences: recurrent networks, their gradients, reservoirs, and models with a hidden state."""
