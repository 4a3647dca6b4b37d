"""One module per section of the file: its keys, their types, defaults, descriptions and examples."""
