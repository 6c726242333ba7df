"""What the bridge stores about polling each source, in the state server, and HTTP calls to vendors."""
