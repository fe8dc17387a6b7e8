//! Holding money for a call and settling what it really used.
