"""What ships with the package, as files."""
