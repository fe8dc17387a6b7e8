//! Tool ids and names the protocol does not accept, rewritten on the way out and mapped back on the way in.

use std::{borrow::Cow, collections::HashMap};

use gateway_core::Memo;

/// What the encoder of a request must remember until the answer has been read.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: Renamed,
    tools: Renamed,
    /// The forced tool whose input is the structured answer.
    answer_tool: Option<String>,
}

#[derive(Debug, Default)]
struct Renamed {
    /// From the name given to the name written.
    forth: HashMap<String, String>,
    /// And back, where they differ.
    back: HashMap<String, String>,
}

impl Names {
    /// The id to write for `id`: letters, digits, `_` and `-` only. The same id always becomes the same one.
    pub(super) fn id<'a>(&mut self, id: &'a str) -> Cow<'a, str> {
        self.ids.written(id, usize::MAX, "toolu")
    }

    /// The tool name to write: letters, digits, `_` and `-`, at most 128.
    pub(super) fn tool<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        self.tools.written(name, 128, "tool")
    }

    /// Makes `name` the tool that carries the structured answer.
    pub(super) fn answer_with(&mut self, name: String) {
        self.answer_tool = Some(name);
    }

    /// Whether a call of `name` is the structured answer.
    pub(super) fn is_answer(&self, name: &str) -> bool {
        self.answer_tool.as_deref() == Some(name)
    }

    pub(super) fn original_id<'a>(&'a self, id: &'a str) -> &'a str {
        self.ids.back.get(id).map_or(id, String::as_str)
    }

    pub(super) fn original_tool<'a>(&'a self, name: &'a str) -> &'a str {
        self.tools.back.get(name).map_or(name, String::as_str)
    }

    /// Nothing to remember is no memo.
    pub(super) fn into_memo(self) -> Memo {
        if self.answer_tool.is_none() && self.ids.back.is_empty() && self.tools.back.is_empty() {
            return Memo::default();
        }
        Memo::new(self)
    }
}

impl Renamed {
    fn written<'a>(&mut self, name: &'a str, longest: usize, fallback: &str) -> Cow<'a, str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_valid = !name.is_empty() && name.len() <= longest && name.chars().all(fits);
        if is_valid && !self.back.contains_key(name) {
            return Cow::Borrowed(name);
        }
        if let Some(known) = self.forth.get(name) {
            return Cow::Owned(known.clone());
        }
        let stem: String = name.chars().take(longest.min(100)).map(|c| if fits(c) { c } else { '_' }).collect();
        let stem = if stem.is_empty() { fallback.to_owned() } else { stem };
        let mut written = stem.clone();
        let mut n = 1;
        while self.back.contains_key(&written) {
            n += 1;
            written = format!("{stem}_{n}");
        }
        self.forth.insert(name.to_owned(), written.clone());
        self.back.insert(written.clone(), name.to_owned());
        Cow::Owned(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rewritten_once_and_found_again() {
        let mut names = Names::default();
        assert_eq!(names.id("toolu_1-a"), "toolu_1-a");
        let dotted = names.id("call.1").into_owned();
        assert_eq!(dotted, "call_1");
        assert_eq!(names.id("call.1"), dotted, "a result must name the id its call was given");
        assert_ne!(names.id("call:1"), dotted, "two ids never become one");
        assert_eq!(names.original_id(&dotted), "call.1");
        assert_eq!(names.id(""), "toolu");
        assert_eq!(names.tool(&"x".repeat(200)).len(), 100);
        assert_eq!(names.original_tool("plain"), "plain");
    }

    #[test]
    fn a_valid_name_that_another_was_rewritten_to_is_moved_aside() {
        let mut names = Names::default();
        assert_eq!(names.tool("a.b"), "a_b");
        assert_eq!(names.tool("a_b"), "a_b_2");
        assert_eq!(names.original_tool("a_b_2"), "a_b");
    }
}
