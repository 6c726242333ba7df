"""The contract suites' stage: `stage` sets up a vendor, `engine` runs the bridge, `wire` is HTTP, `reading` fixtures."""
