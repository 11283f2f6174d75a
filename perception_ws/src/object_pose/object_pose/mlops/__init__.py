"""Experiments, the model registry and tuning: the only place that knows MLflow and Optuna."""
