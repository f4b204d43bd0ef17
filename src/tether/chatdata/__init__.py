"""Chat examples: load, validate, render with the model's own template, split, and find leaks between sets."""
