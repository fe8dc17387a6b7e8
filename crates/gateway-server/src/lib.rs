#![doc = include_str!("../README.md")]

pub mod auth;
pub mod body;
pub mod calls;
pub mod catalog;
pub mod drain;
pub mod edge_body;
pub mod error;
pub mod metrics;
pub mod mount;
pub mod request_id;
pub mod rescue;
pub mod server;
pub mod site;
pub mod stage;
pub mod supervise;
pub mod trace;

mod address;
mod reply_head;

pub use auth::{AdminCheck, AuthLayer};
pub use body::{BodyLimitLayer, BodyLimits};
pub use calls::{CallLayer, CallLimits};
pub use catalog::{ModelCatalog, ModelInfo};
pub use drain::Drain;
pub use edge_body::EdgeBody;
pub use error::EdgeError;
pub use metrics::{Family, FamilyKind, Metrics, Sample, Snapshot, Value};
pub use mount::{Access, Mount, MountRequest};
pub use request_id::RequestIds;
pub use rescue::RescueLayer;
pub use server::{Bound, Drained, Running, Server, ServerLimits, tls};
pub use site::{Readiness, Site, SiteBuilder, SiteLayer};
pub use stage::Stage;
pub use supervise::spawn;
pub use trace::TraceLayer;
