"""The catalog of models: fetched with checksums, converted once, packed into archives."""
