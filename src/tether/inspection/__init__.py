"""Where a fine-tuning changed its base: in which weights, in which blocks, at which token of an answer."""
