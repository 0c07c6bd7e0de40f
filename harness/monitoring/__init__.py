"""What watches Engram while it is rolled out: rules, dashboards, annotations, and the check that all of it works."""
