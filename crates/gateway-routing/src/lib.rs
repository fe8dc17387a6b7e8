#![doc = include_str!("../README.md")]

mod health;
mod plan;
mod policy;
mod providers;
mod resolve;
mod router;
mod table;

pub use health::{DeploymentHealth, Health, HealthState};
pub use plan::{Plan, Standing};
pub use policy::{HealthPolicy, RetryPolicy};
pub use providers::{AttemptCount, Providers};
pub use resolve::{NO_DEPLOYMENT, OPERATION_UNSUPPORTED, Resolve, ResolveLayer, resolve};
pub use router::Router;
pub use table::{Model, RouteError, RouteTable, RouteTableBuilder, Routes, Tier};
