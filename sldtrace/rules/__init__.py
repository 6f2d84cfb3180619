"""What makes a finding: rules and thresholds on plain arrays, for analyzers and the recorder alike."""
