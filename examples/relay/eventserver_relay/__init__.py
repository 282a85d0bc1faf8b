"""A small relay for EventServer: takes events from devices, keeps them, forwards them."""

__version__ = "0.1.0"
