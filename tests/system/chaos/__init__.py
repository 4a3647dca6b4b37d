"""Mixed faults at random under load, and what must hold through all of them."""
