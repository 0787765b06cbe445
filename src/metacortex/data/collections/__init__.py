"""Published image collections: one file per collection or small group."""
