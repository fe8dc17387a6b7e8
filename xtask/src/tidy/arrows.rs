//! Which crate may depend on which: the arrows point one way.

use anyhow::Result;
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Finding;

/// What each crate may use of the workspace at run time.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("gateway-core", &[]),
    ("gateway-wire", &["gateway-core"]),
    ("gateway-providers", &["gateway-core", "gateway-wire"]),
    ("gateway-server", &["gateway-core", "gateway-wire"]),
    ("gateway-routing", &["gateway-core"]),
    ("gateway-billing", &["gateway-core"]),
    ("bellwether", &["gateway-core", "gateway-wire", "gateway-providers", "gateway-server", "gateway-routing", "gateway-billing"]),
];

/// What core may use besides: it names no socket, no SQL and no vendor.
const CORE_MAY_USE: [&str; 7] = ["async-trait", "bytes", "http", "http-body", "serde", "serde_json", "tokio"];

pub(super) fn check() -> Result<Vec<Finding>> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let ours: Vec<_> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else { continue };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            let used = dependency.name.as_str();
            let ours = ours.iter().any(|package| package == used);
            let core_oversteps = name == "gateway-core" && !CORE_MAY_USE.contains(&used);
            if (ours && !allowed.contains(&used)) || core_oversteps {
                findings.push(Finding {
                    file: format!("crates/{name}/Cargo.toml"),
                    line: 0,
                    rule: "arrows",
                    message: format!("{name} must not depend on {used}"),
                });
            }
        }
    }
    Ok(findings)
}
