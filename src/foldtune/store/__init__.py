"""foldtune's own rows, beside Optuna's tables in the same database; ours are the truth."""
