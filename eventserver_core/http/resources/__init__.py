"""One class for each URI template."""
