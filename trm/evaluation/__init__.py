"""Accuracy of a trained model."""
