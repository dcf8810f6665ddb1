"""Bodies and their relations: simulators, interaction networks, neural relational inference, causality."""
