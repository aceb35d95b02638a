"""Plain data that every floor speaks: frozen dataclasses and state machines."""
