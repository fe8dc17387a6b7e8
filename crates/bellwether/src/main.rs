//! The `bellwether` binary: the shipped providers and nothing else.

use std::process::ExitCode;

/// Requests allocate and free in bursts over several threads, which is what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match bellwether::Registry::builtin() {
        Ok(registry) => bellwether::run(registry),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
