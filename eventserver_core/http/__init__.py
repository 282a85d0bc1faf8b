"""The API on Falcon: HTTP in, services, HTTP out."""
