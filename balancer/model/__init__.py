"""The product's words as values; imports nothing of ours and does no I/O."""
