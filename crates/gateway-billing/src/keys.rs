//! API keys: made once, stored as keyed hashes, answered from memory.
