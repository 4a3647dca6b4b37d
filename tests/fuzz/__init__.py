"""Fuzzing: what must hold for any bytes, told as plain functions, and what drives them."""
