//! What providers report and what is charged for it: from the bytes of an answer, whole and streamed, through the codecs and
//! the leaves to the price.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod answers;
mod lists;
mod properties;
mod vectors;
