//! The caller's view of its account as an HTTP service: balance, receipts, cost report.
