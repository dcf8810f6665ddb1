"""Graph networks: message passing, convolutions, fast sparse products, sampling, smoothing."""
