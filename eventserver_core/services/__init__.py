"""What EventServer does, without HTTP: each service gets its backends and rows passed in."""
