"""Proficiency, safety, knowledge, drift: each takes a model and gives per-item records."""
