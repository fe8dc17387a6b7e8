//! Wallets in memory: what is free, what is held, and who may take how much.
