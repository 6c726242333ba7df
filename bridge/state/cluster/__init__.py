"""A cluster of state servers behind one client: who holds which slot, and what is sent where."""
