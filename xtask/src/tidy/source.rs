//! Rules about Rust source: sizes, module docs and names, what codecs and tests must not do.

use syn::{
    Arm, Attribute, Expr, ExprMethodCall, ImplItemFn, ItemFn, ItemMod, LitFloat, Pat, TypePath,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::{Finding, SourceFile};

const SOURCE_LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const BANNED_MODULES: [&str; 5] = ["utils", "helpers", "common", "types", "misc"];
const CODECS: [&str; 3] = ["openai_chat", "anthropic", "gemini"];

pub(super) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let syntax = match syn::parse_file(&file.text) {
        Ok(syntax) => syntax,
        Err(error) => {
            findings.push(Finding { file: file.path.clone(), line: error.span().start().line, rule: "syntax", message: error.to_string() });
            return;
        }
    };
    let mut visitor = Visitor { file, findings, test_lines: 0, in_test: file.is_test() };
    if !documented(&syntax.attrs) && !file.is_test() {
        visitor.find(1, "module-docs", "a module opens with `//!`: what it owns and what it promises".to_owned());
    }
    if let Some(stem) = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")) {
        visitor.module_name(stem, 0);
    }
    visitor.visit_file(&syntax);
    visitor.length();
    visitor.codec_imports();
}

struct Visitor<'a> {
    file: &'a SourceFile,
    findings: &'a mut Vec<Finding>,
    test_lines: usize,
    in_test: bool,
}

impl Visitor<'_> {
    fn find(&mut self, line: usize, rule: &'static str, message: String) {
        self.findings.push(Finding { file: self.file.path.clone(), line, rule, message });
    }

    fn length(&mut self) {
        let lines = self.file.text.lines().count();
        if self.file.is_test() {
            if lines > TEST_LINES_MAX {
                self.find(0, "file-length", format!("{lines} lines of tests; at most {TEST_LINES_MAX}"));
            }
        } else if lines - self.test_lines.min(lines) > SOURCE_LINES_MAX {
            self.find(0, "file-length", format!("{} lines without tests; at most {SOURCE_LINES_MAX}", lines - self.test_lines));
        }
    }

    fn module_name(&mut self, name: &str, line: usize) {
        if BANNED_MODULES.contains(&name) {
            self.find(line, "module-name", format!("`{name}` says nothing; name the module for what it owns"));
        }
        if name == "mod" {
            self.find(0, "module-name", "write `foo.rs` beside `foo/`, not `foo/mod.rs`".to_owned());
        }
    }

    fn function(&mut self, name: &str, span: proc_macro2::Span, attributes: &[Attribute]) {
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES_MAX && !self.in_test {
            self.find(span.start().line, "function-length", format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}"));
        }
        for banned in ["ignore", "should_panic"] {
            if attributes.iter().any(|attribute| attribute.path().is_ident(banned)) {
                self.find(span.start().line, "test-attribute", format!("`#[{banned}]`: a test runs, and asserts what it expects"));
            }
        }
    }

    /// Which codec this file belongs to, if any.
    fn codec(&self) -> Option<&'static str> {
        let path = self.file.path.strip_prefix("crates/gateway-wire/src/")?;
        CODECS.into_iter().find(|codec| path == format!("{codec}.rs") || path.starts_with(&format!("{codec}/")))
    }

    /// Whether this is code that counts money, where a float is a wrong amount waiting to happen.
    fn counts_money(&self) -> bool {
        self.file.path.starts_with("crates/gateway-billing/src/") && !self.in_test
    }

    fn float(&mut self, line: usize) {
        self.find(line, "money-float", "no floats where money is counted: amounts are integers and round once".to_owned());
    }

    fn codec_imports(&mut self) {
        let Some(own) = self.codec() else { return };
        if self.in_test {
            return;
        }
        for other in CODECS.into_iter().filter(|other| *other != own) {
            let needle = format!("crate::{other}");
            if let Some(line) = self.file.text.lines().position(|line| line.contains(&needle)) {
                self.find(line + 1, "codec-imports", format!("a codec imports core's `ir`, never another codec ({other})"));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module_name(&module.ident.to_string(), module.span().start().line);
        let is_test = module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg") && quote_contains(attribute, "test"));
        if is_test && module.content.is_some() {
            let span = module.span();
            self.test_lines += span.end().line - span.start().line + 1;
        }
        let outer = self.in_test;
        self.in_test |= is_test;
        visit::visit_item_mod(self, module);
        self.in_test = outer;
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.sig.ident.to_string(), function.span(), &function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.function(&function.sig.ident.to_string(), function.span(), &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_type_path(&mut self, path: &'ast TypePath) {
        if self.counts_money() && (path.path.is_ident("f64") || path.path.is_ident("f32")) {
            self.float(path.span().start().line);
        }
        visit::visit_type_path(self, path);
    }

    fn visit_lit_float(&mut self, literal: &'ast LitFloat) {
        if self.counts_money() {
            self.float(literal.span().start().line);
        }
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        let empty = match &*arm.body {
            Expr::Block(block) => block.block.stmts.is_empty(),
            Expr::Tuple(tuple) => tuple.elems.is_empty(),
            _ => false,
        };
        if empty && matches!(arm.pat, Pat::Wild(_)) && self.codec().is_some() && !self.in_test {
            self.find(arm.span().start().line, "silent-drop", "`_ => {}` in a codec: name what is dropped, or record the loss".to_owned());
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let over_parts = matches!(&*call.receiver, Expr::MethodCall(inner) if matches!(&*inner.receiver, Expr::Field(field)
            if matches!(&field.member, syn::Member::Named(name) if name == "parts")));
        if call.method == "filter_map" && over_parts && self.codec().is_some() && !self.in_test {
            self.find(call.span().start().line, "silent-drop", "`filter_map` over parts: a dropped part is a recorded loss".to_owned());
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn documented(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc"))
}

fn quote_contains(attribute: &Attribute, word: &str) -> bool {
    attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|token| token == word))
}
