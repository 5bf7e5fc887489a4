"""Coverage-guided fuzzing: no bytes may crash a target, and its plain twin must agree."""
