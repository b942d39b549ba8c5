//! The operator's doors: health, readiness and metrics over HTTP, commands over a Unix socket that
//! only the hub's own account can open.

mod admin;
mod authority;
mod failure;
mod gauges;
mod grants;
mod lookup;
mod nodes;
mod office;
mod public;
mod status;
mod tokens;
pub mod types;

pub use admin::{bind as bind_admin, serve as serve_admin};
pub use office::Office;
pub use public::{Readiness, serve as serve_public};
