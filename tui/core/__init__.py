"""What the terminal knows, as plain Python: no Textual, no bus; every part can be tested by itself."""
