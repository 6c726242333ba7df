"""The state server: keys, clients, scripts, leases, and the embedded server."""
