"""Lists of plates and patterns to look out for: kept in SQLite, matched against every sighting."""
