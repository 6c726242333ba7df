"""HTTP to receivers, the rule for addresses, and signatures."""
