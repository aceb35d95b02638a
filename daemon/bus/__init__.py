"""NATS: the embedded server, one link that mends itself, and what runs over it."""
