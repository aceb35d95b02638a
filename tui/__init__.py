"""The terminal of Elcano: another process, which knows the daemon only by its messages."""
