"""config.toml: its schema and its loader, which reports every error at once."""
