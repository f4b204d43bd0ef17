"""What must not change: prompts with the base's own answers, and how far a model has moved on them."""
