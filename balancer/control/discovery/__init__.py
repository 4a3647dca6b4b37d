"""Discovery: which addresses a name has now, and which targets that makes."""
