"""Models of latency, each behind the protocol of `predictors.Predictor`."""
