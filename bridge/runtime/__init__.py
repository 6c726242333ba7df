"""The processes of `up`: started, kept alive, stopped in order."""
