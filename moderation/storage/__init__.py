"""All SQL: the tables, the database, and one module a noun. Gives and takes domain objects; rows never leave."""
