"""What says of an answer whether it refuses: rules, classifiers, and models with a published rubric."""
