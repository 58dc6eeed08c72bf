"""The outside systems: an interface for each, which the sandbox implements too, and beside it what
implements it for the real one."""
