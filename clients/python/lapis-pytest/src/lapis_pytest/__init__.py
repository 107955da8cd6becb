"""Lapis in tests: a local Azure platform, started once and fresh for each test."""

from .platform import LapisError, Platform

__all__ = ["LapisError", "Platform"]
