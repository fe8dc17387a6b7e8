-- What is kept of a request for hints: keyed hashes of its body and of the beginnings of its prompt, and the output limit
-- that it asked for; see `facts.rs`. NULL: not known, as of every request before this and wherever it is switched off.

ALTER TABLE hold ADD COLUMN facts BLOB;
