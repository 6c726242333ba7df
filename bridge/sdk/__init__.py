"""All that a vendor folder may import, besides `bridge.errors` and `bridge.net.signatures`."""
