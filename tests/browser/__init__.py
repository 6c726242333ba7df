"""The dashboard in a real Chromium; a package, so that its files share one browser."""
