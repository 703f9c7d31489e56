"""The custom resources: specs, statuses, conditions, CRDs."""
