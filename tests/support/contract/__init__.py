"""The stage of the contract suites: `stage` a vendor, `engine` the bridge, `wire` HTTP, `reading` fixtures."""
