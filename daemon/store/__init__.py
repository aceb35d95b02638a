"""DuckDB: ledger, results and outbox, one writer."""
