//! The gateway with Acme compiled in: `cargo run -p acme-provider -- serve`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match bellwether::Registry::builtin() {
        Ok(registry) => bellwether::run(registry.with(acme_provider::Acme)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
