"""Unrolled."""
