"""All SQL. Functions take the caller's connection, so that several of them share one transaction."""
