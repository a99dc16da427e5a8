"""Kubeflow pipelines; they run unchanged on this machine and on a cluster."""
