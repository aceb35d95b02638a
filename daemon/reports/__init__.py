"""The report of a session: one HTML file that stands by itself. Data in, text out; who asks the store is the caller."""
