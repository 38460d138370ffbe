"""What has been applied: one generic store of (kind, name, version, body, fingerprint), its history and its graph."""
