"""How a stage runs: device, threads, precision, record, MLflow."""
