"""What the model of the penalty predicts for recorded threads under another timer or kernel setting."""
