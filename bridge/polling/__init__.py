"""What the bridge knows of polling each source, kept in the state server, and HTTP calls to vendors."""
