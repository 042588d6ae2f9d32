"""Where sightings go: each sink behind one small interface, fed from the spool."""
