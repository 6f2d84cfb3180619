"""`sldtrace check`: one module for each concern, each check one function with a typed result."""
