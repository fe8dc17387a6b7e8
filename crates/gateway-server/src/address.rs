//! What a request's address says, with its escapes undone as the URL standard has it: a stray `%` is itself.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

/// A part of a path; `None` if it does not spell text.
pub(crate) fn segment(escaped: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(escaped).decode_utf8().ok()
}

/// The parameters of the query, in order. Bytes that spell no text become U+FFFD, which no name of ours holds.
pub(crate) fn query(uri: &Uri) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{query, segment};

    #[test]
    fn escapes_are_undone_and_what_is_none_is_kept() {
        for (escaped, text) in [
            ("openai%2Fgpt-4.1", Some("openai/gpt-4.1")),
            ("%c3%A9+", Some("é+")),
            ("50%off", Some("50%off")),
            ("a%2", Some("a%2")),
            ("%ff", None),
        ] {
            assert_eq!(segment(escaped).as_deref(), text, "{escaped}");
        }
        let uri = "/v1/models?a=b+c&%61=1%2B1&&odd&bad=%ff".parse().expect("an address");
        let pairs: Vec<_> = query(&uri).collect();
        let read: Vec<_> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(read, [("a", "b c"), ("a", "1+1"), ("odd", ""), ("bad", "\u{fffd}")]);
    }
}
