//! Expected files: compared, or rewritten when blessing.

use std::{fs, path::PathBuf};

/// Whether expected files are to be rewritten.
#[expect(clippy::disallowed_methods, reason = "tests read their environment in this one place")]
fn blessing() -> bool {
    std::env::var("BLESS").is_ok_and(|value| value == "1")
}

/// Only cases whose directory contains this are run.
#[expect(clippy::disallowed_methods, reason = "tests read their environment in this one place")]
pub(crate) fn wanted() -> Option<String> {
    std::env::var("FIXTURE").ok()
}

/// One expected file.
pub(crate) struct Golden(pub(crate) PathBuf);

impl Golden {
    /// The text, exactly. A final line end is added to the file for editors' sake unless the text has one.
    pub(crate) fn text(&self, actual: &str) {
        let actual = if actual.ends_with('\n') || actual.is_empty() { actual.to_owned() } else { format!("{actual}\n") };
        if blessing() {
            let parent = self.0.parent().expect("an expected file has a directory");
            fs::create_dir_all(parent).expect("create the directory");
            fs::write(&self.0, actual).expect("write the expected file");
            return;
        }
        let expected = fs::read_to_string(&self.0).unwrap_or_else(|e| panic!("{}: {e}; BLESS=1 writes it", self.0.display()));
        assert_eq!(actual, expected, "{} differs; BLESS=1 rewrites it", self.0.display());
    }

    /// As [`Golden::text`], but no file stands for no text.
    pub(crate) fn text_or_absent(&self, actual: &str) {
        if !actual.is_empty() {
            return self.text(actual);
        }
        if blessing() {
            let _ = fs::remove_file(&self.0);
        }
        assert!(!self.0.exists(), "{} is expected, but there is nothing", self.0.display());
    }

    /// JSON, compared byte for byte after indenting, so that diffs can be read.
    pub(crate) fn json(&self, actual: &[u8]) {
        let text = std::str::from_utf8(actual).unwrap_or_else(|e| panic!("{}: {e}", self.0.display()));
        self.text(&indented(text));
    }
}

/// Indents JSON without touching key order, numbers or escapes. Panics when it is no JSON.
pub(crate) fn indented(json: &str) -> String {
    let _: serde::de::IgnoredAny = serde_json::from_str(json).unwrap_or_else(|e| panic!("not JSON: {e}\n{json}"));
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0usize, false, false);
    let mut chars = json.chars().filter(|c| !matches!(c, '\u{0}')).peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            ' ' | '\n' | '\r' | '\t' => {}
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.peek().is_some_and(char::is_ascii_whitespace) {
                    chars.next();
                }
                if let Some(close) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(c),
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}
