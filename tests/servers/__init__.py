"""Strict stand-ins for the services, on loopback, that the real SDKs talk to; no live one was ever called."""
