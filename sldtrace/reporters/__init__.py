"""One module per form of output; the same findings in every form."""
