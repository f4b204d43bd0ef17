"""Ways to fine-tune, one small file or folder each; `registry` lists them."""

from tether.methods.registry import Method, find, method, registry

__all__ = ["Method", "find", "method", "registry"]
