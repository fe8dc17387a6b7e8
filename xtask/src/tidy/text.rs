//! Rules about words, in every file.

use super::{Finding, SourceFile};

/// Paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] = [concat!("/", "home/"), concat!("/", "work/"), concat!("/", "root/"), concat!("/", "Users/")];

pub(super) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut find = |line: usize, rule, message: String| findings.push(Finding { file: file.path.clone(), line, rule, message });
    for (at, line) in file.text.lines().enumerate() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
            find(at + 1, "machine-path", format!("`{path}` names a place on one machine"));
        }
        let is_source = file.path.ends_with(".rs") && !file.path.starts_with("xtask/");
        if is_source
            && let Some((_, after)) = line.split_once(concat!("TO", "DO"))
            && !after.trim_start_matches('(').starts_with('#')
        {
            find(at + 1, "todo", "an open point carries an issue's number: (#12)".to_owned());
        }
    }
}
