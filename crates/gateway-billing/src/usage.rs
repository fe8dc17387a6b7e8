//! From reported usage to the things that are counted and priced.
