"""Text: characters, bytes or BPE tokens, and an autoregressive transformer over them."""
