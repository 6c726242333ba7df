"""A cluster of state servers behind one client: which node holds which slot, and what is sent where."""
