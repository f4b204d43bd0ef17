"""tether: fine-tune a chat model on a domain and keep what it already knew and refused."""
