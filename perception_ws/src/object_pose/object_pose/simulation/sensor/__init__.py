"""Sensor models."""
