"""The outside systems, one module each, behind interfaces that the sandbox implements too."""
