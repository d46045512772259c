"""Reproducible multi-label image classification with learned label couplings."""
