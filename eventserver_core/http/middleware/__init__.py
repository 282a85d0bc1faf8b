"""What happens to every request, by verb."""
