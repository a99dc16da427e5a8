"""Kubeflow components: paths in, one call into pathcast, paths out."""
